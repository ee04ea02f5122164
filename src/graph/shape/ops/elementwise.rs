//! Element by element: activations, arithmetic, comparison, Where, Softmax, Dropout (ONNX operators, opsets 7–22).

use super::super::context::{Context, Outputs, Trouble, show};
use super::super::dims;
use super::super::fact::Fact;
use crate::graph::dim::Shape;
use crate::graph::tensor::DataType;

/// One input, the same shape out.
pub(super) fn unary(c: &Context) -> Outputs {
    c.one(c.shape(0).cloned())
}

/// A boolean for each element.
pub(super) fn test(c: &Context) -> Outputs {
    Ok(vec![Fact::new(Some(DataType::Bool), c.shape(0).cloned())])
}

/// Softmax and LogSoftmax along `axis`.
pub(super) fn softmax(c: &Context) -> Outputs {
    let default = if c.opset < 13 { 1 } else { -1 };
    if let Some(x) = c.shape(0) {
        // Before opset 13 the input is seen as a matrix, and an axis behind the last one is allowed.
        let rank = if c.opset < 13 { x.len() + 1 } else { x.len() };
        c.axis(c.int("axis", default), rank)?;
    }
    unary(c)
}

/// Y and, where asked for, the mask.
pub(super) fn dropout(c: &Context) -> Outputs {
    let mut outputs = unary(c)?;
    if c.node.outputs.len() > 1 {
        outputs.push(Fact::new(Some(DataType::Bool), c.shape(0).cloned()));
    }
    Ok(outputs)
}

/// X and a slope that broadcasts to X; before opset 7 one slope, or one per channel.
pub(super) fn prelu(c: &Context) -> Outputs {
    if c.opset < 7 {
        return unary(c);
    }
    if let (Some(x), Some(slope)) = (c.shape(0), c.shape(1)) {
        let both = dims::broadcast([x, slope])?;
        if slope.len() > x.len() || both.iter().zip(x).any(|(both, x)| !dims::may_equal(both, x)) {
            return Err(format!("the slope of shape {} does not broadcast to {}", show(slope), show(x)).into());
        }
    }
    unary(c)
}

/// Any number of inputs of one type.
pub(super) fn broadcast(c: &Context) -> Outputs {
    same_type(c, 0)?;
    c.one(shape(c)?)
}

/// Base and exponent may differ in type.
pub(super) fn power(c: &Context) -> Outputs {
    c.one(shape(c)?)
}

/// Two inputs of one type to booleans.
pub(super) fn compare(c: &Context) -> Outputs {
    same_type(c, 0)?;
    Ok(vec![Fact::new(Some(DataType::Bool), shape(c)?)])
}

/// Condition, X, Y.
pub(super) fn select(c: &Context) -> Outputs {
    same_type(c, 1)?;
    Ok(vec![Fact::new(c.dtype(1).or(c.dtype(2)), widest(c)?)])
}

/// `None` where an input's shape is not known.
fn shape(c: &Context) -> Result<Option<Shape>, Trouble> {
    // Before opset 7 the second input was aligned by an attribute and never widened the first.
    if c.opset < 7 {
        return Ok(c.shape(0).cloned());
    }
    widest(c)
}

/// All inputs broadcast.
fn widest(c: &Context) -> Result<Option<Shape>, Trouble> {
    let shapes: Option<Vec<&Shape>> = c.inputs.iter().flatten().map(|fact| fact.shape.as_ref()).collect();
    shapes.map(dims::broadcast).transpose()
}

fn same_type(c: &Context, from: usize) -> Result<(), Trouble> {
    let mut types = c.inputs.iter().skip(from).flatten().filter_map(|fact| fact.dtype);
    let Some(first) = types.next() else { return Ok(()) };
    match types.find(|other| *other != first) {
        Some(other) => Err(format!("mixes {first:?} and {other:?}").into()),
        None => Ok(()),
    }
}
