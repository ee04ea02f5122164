//! What an export for one image has only once, such as a class token, spread over all images.

use std::sync::Arc;

use super::Change;
use crate::graph::dim::Dim;
use crate::graph::infer::Inferred;
use crate::graph::model::Attribute;
use crate::graph::model::{Node, Written};
use crate::graph::tensor::TensorData;

/// Operators that broadcast a first dimension of 1 by themselves.
const BROADCAST: [&str; 9] = ["Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Where", "Expand"];

/// A node that takes values of all images with some that are there for `fixed` images, all alike: in a `Concat` those are spread
/// first, elsewhere one of them is enough, and an `Expand` to the fixed batch leaves the batch as it is.
pub(super) fn spread(written: &Written, node: &Node, inferred: &Inferred, fixed: usize, batch: &Dim) -> Option<Change> {
    if BROADCAST.contains(&node.op.as_str()) {
        return broadcast(written, node, inferred, fixed, batch);
    }
    if !node.is("Concat") {
        return None;
    }
    let shape = |name: &str| inferred.fact(name)?.shape.as_deref();
    let all = node.inputs.iter().find(|name| shape(name).and_then(<[Dim]>::first) == Some(batch))?;
    let rank = shape(all)?.len();
    // Joined along the batch itself, they are more images.
    let axis = node.attrs.int("axis", 1);
    if axis == 0 || axis == -i64::try_from(rank).ok()? {
        return None;
    }
    let pinned = |name: &String| shape(name).and_then(<[Dim]>::first) == Some(&Dim::Known(fixed));
    let names = Names { written, of: node.output() };
    let mut change = names.count_of(all, rank);
    let mut spread = node.clone();
    for (at, name) in node.inputs.iter().enumerate().filter(|(_, name)| pinned(name)) {
        let one = if fixed == 1 { name.clone() } else { names.row(&mut change, at, inferred.tensor(name)?)? };
        spread.inputs[at] = names.spread(&mut change, at, &one);
    }
    change.node = spread;
    (change.node.inputs != node.inputs).then_some(change)
}

fn broadcast(written: &Written, node: &Node, inferred: &Inferred, fixed: usize, batch: &Dim) -> Option<Change> {
    let first = |name: &str| inferred.fact(name)?.shape.as_ref()?.first();
    if fixed == 1 || !node.inputs.iter().any(|name| first(name) == Some(batch)) {
        return None;
    }
    let names = Names { written, of: node.output() };
    let mut change = Change { node: node.clone(), before: Vec::new(), constants: Vec::new() };
    if node.is("Expand") {
        let mut target = inferred.tensor(node.input(1)?)?.to_i64()?;
        (target.first() == Some(&i64::try_from(fixed).ok()?)).then_some(())?;
        target[0] = 1;
        let name = names.free("target");
        change.constants.push((name.clone(), Arc::new(TensorData::from_i64(&[target.len()], &target))));
        change.node.inputs[1] = name;
        return Some(change);
    }
    let rank = node.inputs.iter().filter_map(|name| Some(inferred.fact(name)?.shape.as_ref()?.len())).max()?;
    for (at, name) in node.inputs.iter().enumerate() {
        let Some(tensor) = inferred.tensor(name).filter(|tensor| tensor.dims.len() == rank) else { continue };
        if first(name) == Some(&Dim::Known(fixed)) {
            change.node.inputs[at] = names.row(&mut change, at, tensor)?;
        }
    }
    (change.node.inputs != node.inputs).then_some(change)
}

/// Names after the value that is made.
struct Names<'a> {
    written: &'a Written<'a>,
    of: &'a str,
}

impl Names<'_> {
    fn free(&self, what: &str) -> String {
        self.written.free_name(&format!("{}/{what}", self.of))
    }

    /// [number of images, 1, 1, …] as `…/sizes`, counted on this value of that many dimensions.
    fn count_of(&self, value: &str, rank: usize) -> Change {
        let ints =
            |what: &str, values: &[i64]| (self.free(what), Arc::new(TensorData::from_i64(&[values.len()], values)));
        let constants = vec![ints("zero", &[0]), ints("ones", &vec![1; rank - 1])];
        let [shape, images, sizes] = ["shape", "images", "sizes"].map(|what| self.free(what));
        let (zero, ones) = (constants[0].0.as_str(), constants[1].0.as_str());
        let mut joined = made("Concat", &[&images, ones], &sizes);
        joined.attrs.set("axis", Attribute::Int(0));
        let before = vec![made("Shape", &[value], &shape), made("Gather", &[&shape, zero], &images), joined];
        Change { node: Node::default(), before, constants }
    }

    /// The first row of a constant whose rows are all alike.
    fn row(&self, change: &mut Change, at: usize, tensor: &TensorData) -> Option<String> {
        let rows = *tensor.dims.first()?;
        let mut chunks = tensor.bytes.chunks(tensor.bytes.len().checked_div(rows)?.max(1));
        let first = chunks.next()?;
        let dims = std::iter::once(1).chain(tensor.dims[1..].iter().copied()).collect();
        let row = TensorData { dtype: tensor.dtype, dims, bytes: first.to_vec() };
        let alike = chunks.all(|chunk| chunk == first);
        change.constants.push((self.free(&format!("row_{at}")), Arc::new(row)));
        alike.then(|| change.constants.last().map(|(name, _)| name.clone()))?
    }

    fn spread(&self, change: &mut Change, at: usize, value: &str) -> String {
        let name = self.free(&format!("spread_{at}"));
        change.before.push(made("Expand", &[value, &self.free("sizes")], &name));
        name
    }
}

fn made(op: &str, inputs: &[&str], output: &str) -> Node {
    let inputs = inputs.iter().map(|name| (*name).to_owned()).collect();
    Node { name: output.into(), op: op.into(), inputs, outputs: vec![output.into()], ..Node::default() }
}
