//! What must hold for every graph before anything is computed with it.

use std::collections::BTreeSet;

use super::error::{EXPORT_AGAIN, GraphError, Problem};
use super::fold::InputShapes;
use super::infer::{self, Effort};
use super::model::{Graph, TensorData};
use super::order;

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
    for node in &graph.nodes {
        for name in node.inputs.iter().filter(|name| !name.is_empty() && !written.contains(name.as_str())) {
            problems.push(Problem::at(node, format!("reads `{name}`, which nothing writes"), MISSING));
        }
    }
    for output in graph.outputs.iter().filter(|output| !written.contains(output.name.as_str())) {
        problems.push(Problem::of(&output.name, "is an output of the network, but nothing writes it", EXPORT_AGAIN));
    }
    if graph.outputs.is_empty() {
        problems.push(Problem::of(&graph.name, "the network has no output", EXPORT_AGAIN));
    }
    for (name, tensor) in &graph.initializers {
        problems.extend(size_problem(name, tensor));
    }
    if let Err(cycle) = order::order(graph) {
        problems.extend(cycle.problems);
    }
    GraphError::check(problems)
}

const MISSING: &str = "an initializer is missing, perhaps because the weights were saved apart: export the network as one \
                       file, weights included";

/// Names of all values that something writes; a name written twice is a problem.
fn written<'a>(graph: &'a Graph, problems: &mut Vec<Problem>) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    let inputs = graph.inputs.iter().map(|input| input.name.as_str());
    for name in inputs.chain(graph.initializers.keys().map(String::as_str)) {
        if !names.insert(name) {
            problems.push(Problem::of(name, "two graph inputs or initializers have this name", EXPORT_AGAIN));
        }
    }
    for node in &graph.nodes {
        if node.outputs.iter().all(String::is_empty) {
            problems.push(Problem::at(node, "has no output", EXPORT_AGAIN));
        }
        for name in node.outputs.iter().filter(|name| !name.is_empty()) {
            if !names.insert(name) {
                problems.push(Problem::at(node, format!("writes `{name}`, which is already written"), EXPORT_AGAIN));
            }
        }
    }
    names
}

fn size_problem(name: &str, tensor: &TensorData) -> Option<Problem> {
    let elements = tensor.dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
    let bytes = elements.and_then(|n| n.checked_mul(tensor.dtype.size().unwrap_or(0)));
    let fits = tensor.dtype.size().is_none() || bytes == Some(tensor.bytes.len());
    let detail = format!("holds {} bytes, which do not fill its shape {:?}", tensor.bytes.len(), tensor.dims);
    (!fits).then(|| Problem::of(name, detail, EXPORT_AGAIN))
}
