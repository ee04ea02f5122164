//! ReduceMean and its relatives, ArgMax, ArgMin, TopK (ONNX operators, opsets 1–18).

use super::super::context::{Context, Outputs};
use super::super::fact::Fact;
use crate::graph::dim::{Dim, Shape};
use crate::graph::tensor::DataType;

/// `axes` are an attribute before opset 18 (ReduceSum: 13) and an input since; none means all.
pub(super) fn reduce(c: &Context) -> Outputs {
    let Some(x) = c.shape(0) else { return c.one(None) };
    let keep = c.int("keepdims", 1) != 0;
    let axes = match c.ints_from("axes", 1) {
        Ok(axes) => axes.unwrap_or_default(),
        Err(_) if keep => return c.one(Some(vec![Dim::Unknown; x.len()])),
        Err(_) => return c.one(None),
    };
    if axes.is_empty() && c.int("noop_with_empty_axes", 0) != 0 {
        return c.one(Some(x.clone()));
    }
    let axes = if axes.is_empty() { (0..x.len()).collect() } else { c.axes(&axes, x.len())? };
    c.one(Some(without(x, &axes, keep)))
}

/// The position of the maximum or minimum along one axis.
pub(super) fn arg(c: &Context) -> Outputs {
    let Some(x) = c.shape(0) else { return Ok(vec![Fact::new(Some(DataType::Int64), None)]) };
    let axis = c.axis(c.int("axis", 0), x.len())?;
    Ok(vec![Fact::new(Some(DataType::Int64), Some(without(x, &[axis], c.int("keepdims", 1) != 0)))])
}

/// The first elements in order, and their positions. `k` is an attribute before opset 10 and an input since.
pub(super) fn top_k(c: &Context) -> Outputs {
    let Some(x) = c.shape(0) else {
        return Ok(vec![Fact::new(c.dtype(0), None), Fact::new(Some(DataType::Int64), None)]);
    };
    let axis = c.axis(c.int("axis", -1), x.len())?;
    let count = match c.int("k", -1) {
        -1 => c.ints(1).and_then(|k| k.first().copied()),
        k => Some(k),
    };
    let mut shape = x.clone();
    shape[axis] = count.and_then(|k| usize::try_from(k).ok()).map_or(Dim::Unknown, Dim::Known);
    Ok(vec![Fact::new(c.dtype(0), Some(shape.clone())), Fact::new(Some(DataType::Int64), Some(shape))])
}

fn without(x: &Shape, axes: &[usize], keep: bool) -> Shape {
    let sizes = x.iter().enumerate().filter_map(|(i, dim)| match axes.contains(&i) {
        false => Some(dim.clone()),
        true => keep.then_some(Dim::Known(1)),
    });
    sizes.collect()
}
