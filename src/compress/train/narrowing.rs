//! Weights in bfloat16.

use std::collections::HashSet;

use tch::Kind;

use crate::compress::CompressError;
use crate::exec::Params;
use crate::graph::{Graph, Node};

/// Weights for running a part of a graph in bfloat16: all that it reads except those of BatchNormalizations, which accept f32
/// together with bfloat16 and lose by rounding what they subtract.
#[derive(Clone)]
pub struct Narrowing {
    narrowed: HashSet<String>,
}

impl Narrowing {
    /// For the nodes of a graph from the one at `first` on.
    pub fn of(graph: &Graph, first: usize) -> Self {
        let (norms, others): (Vec<&Node>, Vec<&Node>) =
            graph.nodes[first..].iter().partition(|node| node.is("BatchNormalization"));
        let kept: HashSet<&String> = norms.into_iter().flat_map(|node| &node.inputs[1..]).collect();
        let read = others.into_iter().flat_map(|node| &node.inputs);
        Self { narrowed: read.filter(|name| !kept.contains(name)).cloned().collect() }
    }

    /// The same weights in bfloat16; gradients flow from them to the f32 ones.
    pub fn narrow(&self, params: &Params) -> Result<Params, CompressError> {
        let mut narrow = params.shallow_copy();
        for name in params.names().filter(|name| self.narrowed.contains(*name)) {
            let tensor = params.get(name).expect("a name of these");
            if tensor.kind() == Kind::Float {
                narrow.set(name, tensor.f_to_kind(Kind::BFloat16)?);
            }
        }
        Ok(narrow)
    }
}
