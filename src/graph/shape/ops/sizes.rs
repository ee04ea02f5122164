//! Constant, ConstantOfShape, Range, Shape, Size, Cast, CastLike (ONNX operators, opsets 1–21).

use std::sync::Arc;

use super::super::context::{Context, Outputs};
use super::super::fact::{Fact, Item};
use crate::graph::dim::Dim;
use crate::graph::model::Attribute;
use crate::graph::tensor::{DataType, TensorData};

/// The value in whichever attribute holds it; strings stay unknown.
pub(super) fn constant(c: &Context) -> Outputs {
    let value = c.node.attrs.0.iter().find(|(name, _)| name.starts_with("value"));
    let tensor = match value.map(|(_, value)| value) {
        Some(Attribute::Tensor(tensor)) => Arc::clone(tensor),
        Some(Attribute::Int(value)) => Arc::new(TensorData::from_i64(&[], &[*value])),
        Some(Attribute::Ints(values)) => Arc::new(TensorData::from_i64(&[values.len()], values)),
        Some(Attribute::Float(value)) => Arc::new(TensorData::from_f32(&[], &[*value])),
        Some(Attribute::Floats(values)) => Arc::new(TensorData::from_f32(&[values.len()], values)),
        _ => return Ok(Vec::new()),
    };
    Ok(vec![Fact::of_tensor(&tensor)])
}

/// A tensor of the given shape filled with `value`, 0.0 by default.
pub(super) fn constant_of_shape(c: &Context) -> Outputs {
    let dtype = c.node.attrs.tensor("value").map_or(DataType::Float32, |value| value.dtype);
    let rank = c.shape(0).and_then(|shape| shape.first()).and_then(Dim::known);
    let shape = match c.items(0) {
        Some(items) if items.items.iter().filter_map(Item::int).any(|size| size < 0) => {
            return Err("a size is negative".to_owned().into());
        }
        Some(items) => Some(items.items.iter().map(Item::dim).collect()),
        None => rank.filter(|rank| *rank <= super::super::MOST_DIMS).map(|rank| vec![Dim::Unknown; rank]),
    };
    Ok(vec![Fact::new(Some(dtype), shape)])
}

/// Start, limit, delta as scalars.
pub(super) fn range(c: &Context) -> Outputs {
    let one = |i| c.items(i).and_then(|items| items.items.first().and_then(Item::int));
    let size = match (one(0), one(1), one(2)) {
        (Some(_), Some(_), Some(0)) => return Err("steps by 0".to_owned().into()),
        (Some(start), Some(limit), Some(delta)) => {
            let (distance, step) = (i128::from(limit) - i128::from(start), i128::from(delta));
            let steps = (distance + step - step.signum()) / step;
            usize::try_from(steps.max(0)).map_or(Dim::Unknown, Dim::Known)
        }
        // From 0 to a free size in steps of 1.
        (Some(0), None, Some(1)) => c.items(1).and_then(|i| i.items.first().map(Item::dim)).unwrap_or(Dim::Unknown),
        _ => Dim::Unknown,
    };
    c.one(Some(vec![size]))
}

/// The shape as a vector, from `start` to `end` since opset 15.
pub(super) fn shape(c: &Context) -> Outputs {
    let count = c.shape(0).map(|x| Dim::Known(bounds(c, x.len()).len()));
    Ok(vec![Fact::new(Some(DataType::Int64), Some(vec![count.unwrap_or(Dim::Unknown)]))])
}

/// Which of the dimensions a Shape node gives.
pub(crate) fn bounds(c: &Context, rank: usize) -> std::ops::Range<usize> {
    let clamp = |at: i64| {
        let from_front = if at < 0 { at.saturating_add_unsigned(rank as u64) } else { at };
        usize::try_from(from_front.max(0)).unwrap_or(rank).min(rank)
    };
    let (start, end) = (clamp(c.int("start", 0)), clamp(c.int("end", i64::MAX)));
    start..end.max(start)
}

/// The number of elements as a scalar.
pub(super) fn size(_: &Context) -> Outputs {
    Ok(vec![Fact::new(Some(DataType::Int64), Some(Vec::new()))])
}

/// Another element type.
pub(super) fn cast(c: &Context) -> Outputs {
    let dtype = i32::try_from(c.int("to", 0)).map(DataType::from_onnx).ok();
    Ok(vec![Fact::new(dtype, c.shape(0).cloned())])
}

/// The element type of the second input.
pub(super) fn cast_like(c: &Context) -> Outputs {
    Ok(vec![Fact::new(c.dtype(1), c.shape(0).cloned())])
}
