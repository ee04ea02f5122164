//! Small edits of the folded graph that never leave this process; what a customer gets is edited through
//! [`crate::graph::patch::Patch`].

use tch::{Kind, Tensor};

use crate::exec::Params;
use crate::graph::Graph;

use super::CompressError;

/// Index of the node that writes a value first.
pub fn position(graph: &Graph, output: &str) -> Option<usize> {
    graph.nodes.iter().position(|node| node.outputs.first().is_some_and(|first| first == output))
}

/// The name of the `index`-th input of the node at `at`, after making sure that no other node reads it: a weight that two
/// convolutions share must change for one of them only.
pub fn own_input(graph: &mut Graph, params: &mut Params, at: usize, index: usize) -> String {
    let name = graph.nodes[at].inputs[index].clone();
    let readers = graph.nodes.iter().flat_map(|node| &node.inputs).filter(|input| **input == name).count();
    if readers == 1 {
        return name;
    }
    let fresh = format!("{name}/{}", graph.nodes[at].output());
    let tensor = params.get(&name).expect("the weight of a node of the graph").copy();
    params.set(&fresh, tensor);
    let data = graph.initializers[&name].clone();
    graph.initializers.insert(fresh.clone(), data);
    graph.nodes[at].inputs[index].clone_from(&fresh);
    fresh
}

/// A weight of the graph in f64, in which weights are merged and folded.
pub fn wide(params: &Params, name: &str) -> Result<Tensor, CompressError> {
    let tensor = params.get(name).expect("the weight of a node of the graph");
    Ok(tensor.f_detach()?.f_to_kind(Kind::Double)?)
}
