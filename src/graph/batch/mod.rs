//! Frees the batch of a network that was exported for a fixed one, so that it can be run on many images at once.

mod spread;
mod target;

use std::sync::Arc;

use super::dim::Dim;
use super::infer::InputShapes;
use super::infer::{Effort, Inferred, Walk};
use super::model::{Graph, Node, ValueType};
use super::order;
use super::tensor::TensorData;

/// The network with a free first dimension in place of a fixed batch: inputs, outputs and intermediate types say so,
/// Reshape targets that spell the batch out copy it instead, and what is there for one image is spread over all where it is
/// joined with values of all. A network whose batch is free already, or that cannot do with another one, comes back as it is:
/// look at the first dimension of its input.
pub fn free_batch(graph: &Graph) -> Graph {
    freed(graph).unwrap_or_else(|| graph.clone())
}

fn freed(graph: &Graph) -> Option<Graph> {
    let fixed = fixed_batch(graph)?;
    let batch = Dim::Symbol(free_symbol(graph));
    let mut result = graph.clone();
    for input in &mut result.inputs {
        if let Some(first) = first_dim(&mut input.ty).filter(|first| **first == Dim::Known(fixed)) {
            first.clone_from(&batch);
        }
    }
    let order = order::order(&result).ok()?;
    let mut walk = Walk::new(&result, &InputShapes::new(), Effort::Shapes);
    let (written, mut freed) = (result.written(), Vec::new());
    // Freeing one target frees the values behind it, which shows the next one.
    for (i, node) in order.into_iter().map(|i| (i, &result.nodes[i])) {
        let change = target::free(&written, node, walk.inferred(), fixed, &batch);
        let spread =
            || spread::spread(&written, node, walk.inferred(), fixed, &batch).filter(|_| result.opset() >= EXPAND);
        let Some(change) = change.or_else(spread) else {
            walk.visit(node);
            continue;
        };
        change.constants.iter().for_each(|(name, tensor)| walk.define(name, tensor));
        change.before.iter().chain([&change.node]).for_each(|node| walk.visit(node));
        freed.push((i, change));
    }
    let inferred = walk.finish();
    for (i, Change { node, before, constants }) in freed {
        result.nodes[i] = node;
        result.nodes.extend(before);
        result.initializers.extend(constants);
    }
    let carried = result.outputs.iter().all(|output| {
        let shape = inferred.fact(&output.name).and_then(|fact| fact.shape.as_ref());
        !starts_with(&output.ty, fixed) || shape.and_then(|shape| shape.first()) == Some(&batch)
    });
    if !carried || !inferred.problems.is_empty() {
        return None;
    }
    set_types(&mut result, &inferred);
    Some(result)
}

/// The first dimension of the first input that has a batch at all.
fn fixed_batch(graph: &Graph) -> Option<usize> {
    let shapes: Vec<_> = graph.inputs.iter().filter_map(|input| input.ty.shape.as_ref()).collect();
    let image = shapes.iter().find(|shape| shape.len() == 4).or_else(|| shapes.iter().find(|shape| shape.len() > 1));
    image?.first()?.known().filter(|batch| *batch > 0)
}

/// `N`, or another name where the file uses that for some other size.
fn free_symbol(graph: &Graph) -> String {
    let types = graph.inputs.iter().chain(&graph.outputs).map(|info| &info.ty).chain(graph.values.values());
    let used: Vec<&Dim> = types.filter_map(|ty| ty.shape.as_ref()).flatten().collect();
    let names = ["N", "batch", "batch_size"].into_iter().map(str::to_owned);
    let mut names = names.chain((1..).map(|i| format!("batch_{i}")));
    names.find(|name| !used.contains(&&Dim::Symbol(name.clone()))).unwrap_or_default()
}

fn first_dim(ty: &mut ValueType) -> Option<&mut Dim> {
    ty.shape.as_mut().filter(|shape| shape.len() > 1).and_then(|shape| shape.first_mut())
}

fn starts_with(ty: &ValueType, size: usize) -> bool {
    ty.shape.as_ref().and_then(|shape| shape.first()) == Some(&Dim::Known(size))
}

/// Since when there is `Expand`.
const EXPAND: i64 = 8;

/// What takes the place of a node that needs the fixed batch.
struct Change {
    node: Node,
    /// Its other inputs.
    before: Vec<Node>,
    constants: Vec<Constant>,
}

/// A constant by its name.
type Constant = (String, Arc<TensorData>);

fn set_types(graph: &mut Graph, inferred: &Inferred) {
    let outputs = graph.outputs.iter_mut().map(|output| (&output.name, &mut output.ty));
    for (name, ty) in outputs.chain(graph.values.iter_mut()) {
        if let Some(shape) = inferred.fact(name).and_then(|fact| fact.shape.clone()) {
            ty.shape = Some(shape);
        }
    }
}
