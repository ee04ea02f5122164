//! Resize and Upsample (ONNX operators, opsets 7–19).

use super::super::context::{Context, Outputs, Trouble, show};
use super::super::fact::Item;
use super::super::symbol;
use crate::graph::dim::{Dim, Shape};

/// X, roi, scales, sizes since opset 11; X, scales in opset 10.
pub(super) fn resize(c: &Context) -> Outputs {
    let Some(x) = c.shape(0) else { return c.one(None) };
    let axes = match c.node.attrs.ints("axes") {
        Some(axes) => c.axes(axes, x.len())?,
        None => (0..x.len()).collect(),
    };
    let (scales, sizes) = if c.opset < 11 { (1, usize::MAX) } else { (2, 3) };
    let mut shape = x.clone();
    if sizes < c.inputs.len() && c.has(sizes) {
        // Other policies shrink the sizes to keep the aspect ratio.
        let stretch = c.node.attrs.string("keep_aspect_ratio_policy", "stretch") == "stretch";
        let wanted = c.items(sizes).filter(|_| stretch).map(|items| items.items);
        let wanted = wanted.unwrap_or_else(|| vec![Item::Unknown; axes.len()]);
        set(&mut shape, &axes, wanted.iter().map(Item::dim).collect())?;
        return c.one(Some(shape));
    }
    match floats(c, scales) {
        Some(scales) if !scales.is_empty() => scale(&mut shape, &axes, &scales)?,
        _ => axes.iter().for_each(|axis| shape[*axis] = Dim::Unknown),
    }
    c.one(Some(shape))
}

/// X and scales, an attribute before opset 9.
pub(super) fn upsample(c: &Context) -> Outputs {
    let Some(x) = c.shape(0) else { return c.one(None) };
    let attribute = match c.node.attrs.get("scales") {
        Some(crate::graph::Attribute::Floats(scales)) => Some(scales.clone()),
        _ => None,
    };
    let mut shape = x.clone();
    match attribute.or_else(|| floats(c, 1)) {
        Some(scales) => scale(&mut shape, &(0..x.len()).collect::<Vec<_>>(), &scales)?,
        None => shape.fill(Dim::Unknown),
    }
    c.one(Some(shape))
}

fn floats(c: &Context, index: usize) -> Option<Vec<f32>> {
    c.fact(index)?.tensor()?.to_f32()
}

fn scale(shape: &mut Shape, axes: &[usize], scales: &[f32]) -> Result<(), Trouble> {
    if let Some(scale) = scales.iter().find(|scale| !scale.is_finite() || **scale <= 0.0) {
        return Err(format!("cannot scale by {scale}").into());
    }
    let scaled = axes.iter().zip(scales).map(|(axis, scale)| match &shape[*axis] {
        size if *scale == 1.0 => size.clone(),
        // In f32, as ONNX Runtime computes it.
        Dim::Known(size) => Dim::Known((*size as f32 * scale).floor() as usize),
        size if scale.fract() == 0.0 => symbol::multiply(size, *scale as i64),
        _ => Dim::Unknown,
    });
    let scaled = if axes.len() == scales.len() { scaled.collect() } else { Vec::new() };
    set(shape, axes, scaled)
}

fn set(shape: &mut Shape, axes: &[usize], sizes: Vec<Dim>) -> Result<(), Trouble> {
    if sizes.len() != axes.len() {
        return Err(format!("does not have one scale or size for each resized axis of {}", show(shape)).into());
    }
    axes.iter().zip(sizes).for_each(|(axis, size)| shape[*axis] = size);
    Ok(())
}
