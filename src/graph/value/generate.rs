//! Shape, Size, ConstantOfShape, Range: values that come from shapes and scalars.

use std::sync::Arc;

use super::numbers::Numbers;
use crate::graph::dim::Dim;
use crate::graph::shape::context::{Context, Trouble};
use crate::graph::shape::fact::{Fact, Item, Items, Known};
use crate::graph::shape::ops::shape_bounds;
use crate::graph::shape::symbol;
use crate::graph::tensor::{DataType, TensorData};

type Values = Result<Vec<Option<Known>>, Trouble>;

/// The input's sizes, free ones by name.
pub(super) fn shape(c: &Context, _: &[Fact]) -> Values {
    let sizes = c.shape(0).map(|x| x[shape_bounds(c, x.len())].iter().map(Item::from).collect());
    Ok(vec![sizes.map(|sizes| Items::vector(sizes).into_known(DataType::Int64))])
}

/// The number of the input's elements.
pub(super) fn size(c: &Context, _: &[Fact]) -> Values {
    let product = c.shape(0).map(|x| Item::from(&symbol::product(x)));
    Ok(vec![product.map(|size| Items { dims: Vec::new(), items: vec![size] }.into_known(DataType::Int64))])
}

/// `value` repeated, 0.0 by default.
pub(super) fn constant_of_shape(c: &Context, outputs: &[Fact]) -> Values {
    let Some(dims) = outputs[0].dims() else { return Ok(vec![None]) };
    let count: usize = dims.iter().product();
    let (dtype, element) = match c.node.attrs.tensor("value") {
        // Nothing has said how many bytes an element of another type has.
        Some(value) if value.dtype.size().is_none() => return Ok(vec![None]),
        Some(value) if value.len() == 1 => (value.dtype, value.bytes.clone()),
        Some(value) => return Err(format!("fills with {} values instead of one", value.len()).into()),
        None => (DataType::Float32, 0f32.to_le_bytes().to_vec()),
    };
    Ok(vec![Some(Known::Tensor(Arc::new(TensorData { dtype, dims, bytes: element.repeat(count) })))])
}

/// start, start + delta, … below limit.
pub(super) fn range(c: &Context, outputs: &[Fact]) -> Values {
    let scalar = |i: usize| Numbers::of(c.fact(i)?.tensor()?);
    let count = outputs[0].shape.as_ref().and_then(|shape| shape.first()).and_then(Dim::known);
    let (Some(count), Some(dtype)) = (count, c.dtype(0)) else { return Ok(vec![None]) };
    let values = match (scalar(0), scalar(2)) {
        (Some(Numbers::Int(start)), Some(Numbers::Int(delta))) if start.len() == 1 && delta.len() == 1 => {
            let nth = |i: usize| start[0].wrapping_add(delta[0].wrapping_mul(i as i64));
            Numbers::Int((0..count).map(nth).collect())
        }
        _ => return Ok(vec![None]),
    };
    Ok(vec![values.tensor(dtype, &[count]).map(|tensor| Known::Tensor(Arc::new(tensor)))])
}
