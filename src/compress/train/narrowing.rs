//! Weights in bfloat16.

use std::collections::HashSet;

use tch::Kind;

use crate::compress::CompressError;
use crate::exec::Params;
use crate::graph::Graph;

/// Weights for running a graph in bfloat16: all but those of BatchNormalizations, which accept f32 together with bfloat16 and
/// lose
/// by rounding what they subtract.
#[derive(Clone)]
pub struct Narrowing {
    kept: HashSet<String>,
}

impl Narrowing {
    /// For one graph.
    pub fn of(graph: &Graph) -> Self {
        let norms = graph.nodes.iter().filter(|node| node.is("BatchNormalization"));
        Self { kept: norms.flat_map(|node| node.inputs[1..].iter().cloned()).collect() }
    }

    /// The same weights in bfloat16; gradients flow from them to the f32 ones.
    pub fn narrow(&self, params: &Params) -> Result<Params, CompressError> {
        let mut narrow = params.shallow_copy();
        for name in params.names().filter(|name| !self.kept.contains(*name)) {
            let tensor = params.get(name).expect("a name of these");
            if tensor.kind() == Kind::Float {
                narrow.set(name, tensor.f_to_kind(Kind::BFloat16)?);
            }
        }
        Ok(narrow)
    }
}
