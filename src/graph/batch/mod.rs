//! Frees the batch of a network that was exported for a fixed one, so that it can be run on many images at once.

mod spread;

use std::sync::Arc;

use super::attrs::Attribute;
use super::fold::InputShapes;
use super::infer::{Effort, Inferred, Walk};
use super::model::{Dim, Graph, Node, Shape, TensorData, ValueType, Written};
use super::order;
use super::shape::fact::Item;
use super::shape::symbol;

/// The network with a free first dimension in place of a fixed batch: inputs, outputs and intermediate types say so,
/// Reshape targets that spell the batch out copy it instead, and what is there for one image is spread over all where it is
/// joined with values of all. A network whose batch is free already, or that cannot
/// do with another one, comes back as it is: look at the first dimension of its input.
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
        let target = pinned_target(node, walk.inferred(), fixed, &batch);
        let change = target.map(|target| with_target(&written, node, target));
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

/// The target of a Reshape that turns a free batch back into the fixed one, with a copy in its place, or what is left where the
/// batch is joined with other dimensions (the windows of Swin) or taken apart from them.
fn pinned_target(node: &Node, inferred: &Inferred, fixed: usize, batch: &Dim) -> Option<Vec<i64>> {
    if !node.is("Reshape") {
        return None;
    }
    let from = inferred.fact(node.input(0)?)?.shape.as_ref()?;
    let mut target = match node.attrs.ints("shape") {
        Some(target) => target.to_vec(),
        None => inferred.tensor(node.input(1)?)?.to_i64()?,
    };
    let zero_is_zero = node.attrs.int("allowzero", 0) != 0;
    if from.first() != Some(batch) || target.first().map(|size| Item::Int(*size).dim()) != Some(Dim::Known(fixed)) {
        return joined_target(from, target, zero_is_zero, fixed, batch);
    }
    // A real 0 in the target could not be told from a copy.
    if zero_is_zero && target[1..].contains(&0) {
        return None;
    }
    target[0] = 0;
    Some(target)
}

/// The same where the first size of the target is a multiple of the fixed batch, and all of them together are as many elements
/// as that has.
fn joined_target(
    from: &Shape,
    mut target: Vec<i64>,
    zero_is_zero: bool,
    fixed: usize,
    batch: &Dim,
) -> Option<Vec<i64>> {
    if target.first() == Some(&-1) {
        return None;
    }
    let of_one = symbol::quotient(&symbol::product(from), batch).known()?;
    let whole = i64::try_from(of_one.checked_mul(fixed)?).ok()?;
    for (at, size) in target.iter_mut().enumerate().filter(|(_, size)| **size == 0 && !zero_is_zero) {
        *size = i64::try_from(from.get(at)?.known()?).ok()?;
    }
    let given = target.iter().filter(|size| **size != -1).try_fold(1i64, |all, size| all.checked_mul(*size))?;
    if given <= 0 || whole % given != 0 {
        return None;
    }
    if let Some(open) = target.iter().position(|size| *size == -1) {
        target[open] = whole / given;
    } else if whole != given {
        return None;
    }
    if *target.first()? % i64::try_from(fixed).ok()? != 0 {
        return None;
    }
    target[0] = -1;
    Some(target)
}

/// Since when there is `Expand`.
const EXPAND: i64 = 8;

/// What takes the place of a node that needs the fixed batch.
struct Change {
    node: Node,
    /// What it reads beside.
    before: Vec<Node>,
    constants: Vec<Constant>,
}

/// A constant by its name.
type Constant = (String, Arc<TensorData>);

/// The node with another target, and the constant that it reads it from. 0 copies a size unless `allowzero` says otherwise, in
/// which case the batch is what is left, or `allowzero` goes.
fn with_target(written: &Written, node: &Node, mut target: Vec<i64>) -> Change {
    let mut node = node.clone();
    if node.attrs.int("allowzero", 0) != 0 {
        match target.contains(&-1) {
            true => node.attrs.set("allowzero", Attribute::Int(0)),
            false => target[0] = -1,
        }
    }
    if node.attrs.ints("shape").is_some() {
        node.attrs.set("shape", Attribute::Ints(target));
        return Change { node, before: Vec::new(), constants: Vec::new() };
    }
    // Other nodes may read the same constant.
    let name = written.free_name(&format!("{}_target", node.output()));
    node.inputs[1].clone_from(&name);
    let target = (name, Arc::new(TensorData::from_i64(&[target.len()], &target)));
    Change { node, before: Vec::new(), constants: vec![target] }
}

fn set_types(graph: &mut Graph, inferred: &Inferred) {
    let outputs = graph.outputs.iter_mut().map(|output| (&output.name, &mut output.ty));
    for (name, ty) in outputs.chain(graph.values.iter_mut()) {
        if let Some(shape) = inferred.fact(name).and_then(|fact| fact.shape.clone()) {
            ty.shape = Some(shape);
        }
    }
}
