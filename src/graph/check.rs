//! What must hold for every graph before anything is computed with it.

use std::collections::BTreeSet;

use super::error::{EXPORT_AGAIN, GraphError, GraphFault, MOST_PROBLEMS};
use super::infer::InputShapes;
use super::infer::{self, Effort};
use super::model::{Graph, Node};
use super::order;
use super::shape::MOST_DIMS;
use super::tensor::TensorData;

/// Every value that is read is written once by a graph input, an initializer or a node; outputs are written; nothing
/// is cyclic; tensors hold what their sizes say; shapes agree. Lists all problems at once.
pub fn check(graph: &Graph) -> Result<(), GraphError> {
    structure(graph)?;
    let order = order::order(graph)?;
    GraphError::check(infer::infer(graph, &order, &InputShapes::new(), Effort::Shapes).problems)
}

/// The checks that need no shapes.
pub(super) fn structure(graph: &Graph) -> Result<(), GraphError> {
    let mut problems = Vec::new();
    let written = written(graph, &mut problems);
    let mute = graph.nodes.iter().filter(|node| node.outputs.iter().all(String::is_empty));
    let mute = mute.map(|node| GraphFault::at(node, "has no output", EXPORT_AGAIN));
    let lost = graph.nodes.iter().flat_map(|node| missing(node, &written));
    let unwritten =
        graph.outputs.iter().filter(|output| !written.contains(output.name.as_str())).map(|output| {
            GraphFault::of(&output.name, "is an output of the network, but nothing writes it", EXPORT_AGAIN)
        });
    let sizes = graph.initializers.iter().filter_map(|(name, tensor)| size_problem(name, tensor));
    problems.extend(mute.chain(lost).chain(unwritten).chain(sizes).take(MOST_PROBLEMS));
    if graph.outputs.is_empty() {
        problems.push(GraphFault::of(&graph.name, "the network has no output", EXPORT_AGAIN));
    }
    if let Err(cycle) = order::order(graph) {
        problems.extend(cycle.problems);
    }
    GraphError::check(problems)
}

const MISSING: &str = "an initializer is missing, perhaps because the weights are in a separate file: export the network as \
    one file that includes the weights";

/// Names of all values that something writes; a name written twice is a problem.
fn written<'a>(graph: &'a Graph, problems: &mut Vec<GraphFault>) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    let inputs = graph.inputs.iter().map(|input| input.name.as_str());
    for name in inputs.chain(graph.initializers.keys().map(String::as_str)) {
        if !names.insert(name) && problems.len() < MOST_PROBLEMS {
            problems.push(GraphFault::of(name, "two graph inputs or initializers have this name", EXPORT_AGAIN));
        }
    }
    for node in &graph.nodes {
        for name in node.outputs.iter().filter(|name| !name.is_empty()) {
            if !names.insert(name) && problems.len() < MOST_PROBLEMS {
                problems.push(GraphFault::at(node, format!("writes `{name}`, which is already written"), EXPORT_AGAIN));
            }
        }
    }
    names
}

fn missing<'a>(node: &'a Node, written: &BTreeSet<&str>) -> impl Iterator<Item = GraphFault> + use<'a> {
    let lost: Vec<&String> =
        node.inputs.iter().filter(|name| !name.is_empty() && !written.contains(name.as_str())).collect();
    lost.into_iter().map(|name| GraphFault::at(node, format!("reads `{name}`, which nothing writes"), MISSING))
}

fn size_problem(name: &str, tensor: &TensorData) -> Option<GraphFault> {
    if tensor.dims.len() > MOST_DIMS {
        return Some(GraphFault::of(name, format!("has more than {MOST_DIMS} dimensions"), EXPORT_AGAIN));
    }
    let elements = tensor.dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
    let bytes = elements.and_then(|n| n.checked_mul(tensor.dtype.size().unwrap_or(0)));
    if tensor.dtype.size().is_none() || bytes == Some(tensor.bytes.len()) {
        return None;
    }
    let detail = format!("holds {} bytes, which do not fill its shape {:?}", tensor.bytes.len(), tensor.dims);
    Some(GraphFault::of(name, detail, EXPORT_AGAIN))
}
