//! Between which numbers a value lies, and which values are one number throughout.

use super::Proofs;
use crate::graph::model::Attribute;
use crate::graph::model::Node;
use crate::graph::value::numbers::Numbers;

/// Nodes that are looked back over, at most.
const DEEPEST: usize = 12;

const ALL: (f64, f64) = (f64::NEG_INFINITY, f64::INFINITY);

/// Bounds of a value's elements, both inclusive.
pub(super) fn of(proofs: &Proofs, value: &str) -> (f64, f64) {
    bounds(proofs, value, DEEPEST)
}

fn bounds(proofs: &Proofs, value: &str, depth: usize) -> (f64, f64) {
    if let Some(number) = uniform(proofs, value) {
        return (number, number);
    }
    let Some(node) = proofs.producer(value).filter(|node| depth > 0 && node.is_onnx()) else { return ALL };
    if !proofs.pay(1) {
        return ALL;
    }
    let input = |at: usize| node.input(at).map_or(ALL, |name| bounds(proofs, name, depth - 1));
    let each = || node.inputs.iter().map(move |name| bounds(proofs, name, depth - 1));
    match node.op.as_str() {
        "Relu" => at_least(input(0), 0.0),
        "Clip" => {
            let (from, to) = input(0);
            clip(proofs, node).map_or(ALL, |(low, high)| (from.max(low).min(high), to.max(low).min(high)))
        }
        "Sigmoid" | "HardSigmoid" | "Softmax" => (0.0, 1.0),
        "Tanh" | "Softsign" | "Erf" | "Sin" | "Cos" => (-1.0, 1.0),
        "Abs" | "Sqrt" | "Exp" | "Softplus" | "ThresholdedRelu" | "ReduceL1" | "ReduceL2" | "ReduceSumSquare" => {
            (0.0, f64::INFINITY)
        }
        "Identity" | "Dropout" | "MaxPool" | "GlobalMaxPool" | "GlobalAveragePool" | "ReduceMean" | "ReduceMax"
        | "ReduceMin" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Transpose" | "Slice" | "Split"
        | "Gather" | "Expand" | "Tile" | "DepthToSpace" | "SpaceToDepth" => input(0),
        "LeakyRelu" | "PRelu" | "Elu" | "Celu" if input(0).0 >= 0.0 => input(0),
        // Padding counts as zeros.
        "AveragePool" => union([input(0), (0.0, 0.0)].into_iter()),
        "Concat" => union(each()),
        "Max" => each().reduce(|a, b| (a.0.max(b.0), a.1.max(b.1))).unwrap_or(ALL),
        "Min" => each().reduce(|a, b| (a.0.min(b.0), a.1.min(b.1))).unwrap_or(ALL),
        "Add" | "Sum" => each().reduce(|a, b| (a.0 + b.0, a.1 + b.1)).unwrap_or(ALL),
        "Mul" if each().all(|(low, _)| low >= 0.0) => (0.0, f64::INFINITY),
        _ => ALL,
    }
}

fn at_least((low, high): (f64, f64), least: f64) -> (f64, f64) {
    (low.max(least), high.max(least))
}

fn union(ranges: impl Iterator<Item = (f64, f64)>) -> (f64, f64) {
    ranges.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).unwrap_or(ALL)
}

/// True if an activation leaves every number that reaches it as it is.
pub(super) fn bends_nothing(proofs: &Proofs, node: &Node) -> bool {
    let Some(x) = node.input(0) else { return false };
    let (from, to) = of(proofs, x);
    match node.op.as_str() {
        "Clip" => clip(proofs, node).is_some_and(|(low, high)| low <= from && high >= to),
        "LeakyRelu" if node.attrs.float("alpha", 0.01) == 1.0 => true,
        "PRelu" if node.input(1).and_then(|slope| uniform(proofs, slope)) == Some(1.0) => true,
        "ThresholdedRelu" => from >= 0.0 && node.attrs.float("alpha", 1.0) == 0.0,
        _ => from >= 0.0,
    }
}

/// The bounds of a Clip, infinite if absent; `None` if one is computed.
fn clip(proofs: &Proofs, node: &Node) -> Option<(f64, f64)> {
    let bound = |at: usize, name: &str, none: f64| match (node.attrs.get(name), node.input(at)) {
        (Some(Attribute::Float(bound)), _) => Some(open(f64::from(*bound))),
        (_, None) => Some(none),
        (_, Some(bound)) => uniform(proofs, bound).map(open),
    };
    Some((bound(1, "min", f64::NEG_INFINITY)?, bound(2, "max", f64::INFINITY)?))
}

/// Infinity for what is as far as float32 goes, which is how exporters write that there is no bound.
pub(super) fn open(bound: f64) -> f64 {
    if bound.abs() >= f64::from(f32::MAX) { bound.signum() * f64::INFINITY } else { bound }
}

/// The number that every element of a value is.
pub(super) fn uniform(proofs: &Proofs, value: &str) -> Option<f64> {
    let mut value = value;
    for _ in 0..DEEPEST {
        if let Some(tensor) = proofs.graph.initializers.get(value) {
            let numbers = Numbers::of(tensor).filter(|_| proofs.pay(tensor.len()))?.floats();
            let first = *numbers.first()?;
            return numbers.iter().all(|number| *number == first).then_some(first);
        }
        let node = proofs.producer(value).filter(|node| node.is_onnx() && node.output() == value)?;
        match node.op.as_str() {
            // Zero by default, of whatever size.
            "ConstantOfShape" => {
                let number = node.attrs.tensor("value").map(|tensor| Numbers::of(tensor).map(Numbers::floats));
                return number.map_or(Some(0.0), |numbers| numbers?.first().copied());
            }
            "Identity" | "Expand" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Transpose" | "Tile"
            | "Slice" | "Cast" => value = node.input(0)?,
            _ => return None,
        }
    }
    None
}
