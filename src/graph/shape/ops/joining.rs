//! Concat, Split, Slice, Gather and its relatives, Pad, Expand, Tile (ONNX operators, opsets 1–21).

use super::super::context::{Context, Outputs, Trouble, show};
use super::super::fact::{Fact, Item};
use super::super::{dims, symbol};
use crate::graph::dim::{Dim, Shape};

/// The inputs one behind the other along `axis`.
pub(super) fn concat(c: &Context) -> Outputs {
    let shapes: Option<Vec<&Shape>> = c.inputs.iter().flatten().map(|fact| fact.shape.as_ref()).collect();
    let Some(shapes) = shapes else { return c.one(None) };
    let Some((first, rest)) = shapes.split_first() else { return Err("has no input".to_owned().into()) };
    let axis = c.axis(c.int("axis", 0), first.len())?;
    let mut result = (*first).clone();
    for shape in rest {
        let fits =
            shape.len() == first.len() && (0..shape.len()).all(|i| i == axis || dims::may_equal(&result[i], &shape[i]));
        if !fits {
            return Err(format!("cannot join {} and {} along axis {axis}", show(first), show(shape)).into());
        }
        for (i, (own, other)) in result.iter_mut().zip(*shape).enumerate() {
            *own = if i == axis { sum(own, other) } else { dims::merge(own, other) };
        }
    }
    c.one(Some(result))
}

fn sum(a: &Dim, b: &Dim) -> Dim {
    match (a, b) {
        (size, Dim::Known(n)) | (Dim::Known(n), size) => {
            i64::try_from(*n).map_or(Dim::Unknown, |n| symbol::add(size, n))
        }
        _ => Dim::Unknown,
    }
}

/// `split` is an attribute before opset 13 and an input since; none means even parts.
pub(super) fn split(c: &Context) -> Outputs {
    let parts = c.node.outputs.len();
    let Some(x) = c.shape(0) else { return Ok(vec![Fact::new(c.dtype(0), None); parts]) };
    let axis = c.axis(c.int("axis", 0), x.len())?;
    let sizes: Vec<Dim> = match split_sizes(c, x, axis)? {
        Some(sizes) => sizes.into_iter().map(Dim::Known).collect(),
        None => vec![Dim::Unknown; parts],
    };
    let shapes = sizes.into_iter().map(|size| {
        let mut shape = x.clone();
        shape[axis] = size;
        Fact::new(c.dtype(0), Some(shape))
    });
    Ok(shapes.collect())
}

/// An element for each place.
pub(super) fn gather_elements(c: &Context) -> Outputs {
    c.one(c.shape(1).cloned())
}

/// Places (…, k) in the first k dimensions behind `batch_dims`: what lies behind those, for each place.
pub(super) fn gather_nd(c: &Context) -> Outputs {
    let (Some(x), Some(places)) = (c.shape(0), c.shape(1)) else { return c.one(None) };
    let depth = places.last().and_then(Dim::known);
    let behind =
        depth.zip(usize::try_from(c.int("batch_dims", 0)).ok()).and_then(|(depth, batch)| depth.checked_add(batch));
    let Some(rest) = behind.and_then(|behind| x.get(behind..)) else { return c.one(None) };
    c.one(Some([&places[..places.len() - 1], rest].concat()))
}

/// The size of each part; `None` where that is not known.
pub(crate) fn split_sizes(c: &Context, x: &Shape, axis: usize) -> Result<Option<Vec<usize>>, Trouble> {
    let parts = c.node.outputs.len();
    let whole = x[axis].known();
    let Ok(given) = c.ints_from("split", 1) else { return Ok(None) };
    if let Some(given) = given {
        let sizes: Vec<usize> = given.iter().filter_map(|size| usize::try_from(*size).ok()).collect();
        let total = sizes.iter().try_fold(0usize, |sum, size| sum.checked_add(*size));
        if sizes.len() != parts || given.len() != parts || whole.is_some_and(|whole| Some(whole) != total) {
            return Err(format!("cannot split {} along axis {axis} into {given:?}", show(x)).into());
        }
        return Ok(Some(sizes));
    }
    let Some(whole) = whole else { return Ok(None) };
    // All parts are equal but the last, which may be smaller since opset 18.
    let size = whole.div_ceil(parts);
    let sizes: Vec<usize> = (0..parts).map(|i| size.min(whole.saturating_sub(i * size))).collect();
    if c.opset < 18 && whole % parts != 0 {
        return Err(format!("cannot split {} along axis {axis} into {parts} equal parts", show(x)).into());
    }
    Ok(Some(sizes))
}

/// One axis of a Slice: which positions it takes.
pub(crate) struct Cut {
    pub axis: usize,
    pub start: i64,
    pub end: i64,
    pub step: i64,
}

/// Starts, ends, axes and steps are attributes before opset 10 and inputs since.
pub(super) fn slice(c: &Context) -> Outputs {
    let Some(x) = c.shape(0) else { return c.one(None) };
    let Some(cuts) = cuts(c, x.len())? else { return c.one(Some(vec![Dim::Unknown; x.len()])) };
    let mut shape = x.clone();
    for cut in &cuts {
        shape[cut.axis] = cut.size(&shape[cut.axis]);
    }
    c.one(Some(shape))
}

/// `None` where they are computed while the network runs.
pub(crate) fn cuts(c: &Context, rank: usize) -> Result<Option<Vec<Cut>>, Trouble> {
    let read = [("starts", 1), ("ends", 2), ("axes", 3), ("steps", 4)].map(|(name, i)| c.ints_from(name, i));
    let [Ok(starts), Ok(ends), Ok(axes), Ok(steps)] = read else { return Ok(None) };
    let (starts, ends) = (starts.unwrap_or_default(), ends.unwrap_or_default());
    let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()].iter().any(|len| *len != starts.len()) {
        return Err(
            format!("starts {starts:?}, ends {ends:?}, axes {axes:?} and steps {steps:?} differ in length").into()
        );
    }
    if steps.contains(&0) {
        return Err("steps by 0".to_owned().into());
    }
    let axes = c.axes(&axes, rank)?;
    let cut = |i: usize| Cut { axis: axes[i], start: starts[i], end: ends[i], step: steps[i] };
    Ok(Some((0..starts.len()).map(cut).collect()))
}

impl Cut {
    /// First position and number of positions along an axis of `size`.
    pub fn positions(&self, size: usize) -> (usize, usize) {
        let size = i128::try_from(size).unwrap_or(i128::MAX);
        let from_front = |at: i64| i128::from(at) + if at < 0 { size } else { 0 };
        let (start, end, step) = (from_front(self.start), from_front(self.end), i128::from(self.step));
        let (start, end) = match step > 0 {
            true => (start.clamp(0, size), end.clamp(0, size)),
            false => (start.clamp(-1, size - 1), end.clamp(-1, size - 1)),
        };
        let count = ((end - start + step - step.signum()) / step).max(0);
        (usize::try_from(start).unwrap_or(0), usize::try_from(count).unwrap_or(0))
    }

    fn size(&self, size: &Dim) -> Dim {
        if let Dim::Known(size) = size {
            return Dim::Known(self.positions(*size).1);
        }
        // Exporters write the largest integer of some width for "to the end".
        let to_end = self.end >= i64::from(i32::MAX);
        match (self.step, self.start, self.end) {
            (1.., 0.., _) if to_end => symbol::ceil_divide(&symbol::add(size, -self.start), self.step),
            (1.., 0.., i64::MIN..0) if self.end != i64::MIN => {
                symbol::ceil_divide(&symbol::add(size, self.end.saturating_sub(self.start)), self.step)
            }
            _ => Dim::Unknown,
        }
    }
}

/// Data without `axis`, in its place the dimensions of the indices.
pub(super) fn gather(c: &Context) -> Outputs {
    let (Some(data), Some(indices)) = (c.shape(0), c.shape(1)) else { return c.one(None) };
    let axis = c.axis(c.int("axis", 0), data.len())?;
    let shape = data[..axis].iter().chain(indices).chain(&data[axis + 1..]).cloned();
    c.one(Some(shape.collect()))
}

/// Elements before or behind an axis. No axis is longer, and sums of a few such numbers stay far from the largest.
const MOST_PADDING: u64 = 1 << 40;

/// `pads` are an attribute before opset 11 and an input since; opset 18 added the axes they are for.
pub(super) fn pad(c: &Context) -> Outputs {
    let Some(x) = c.shape(0) else { return c.one(None) };
    let Some(pads) = pads(c, x.len())? else { return c.one(Some(vec![Dim::Unknown; x.len()])) };
    let mut shape = Shape::with_capacity(x.len());
    for (size, (begin, end)) in x.iter().zip(pads) {
        let padded = begin.checked_add(end).map_or(Dim::Unknown, |pads| symbol::add(size, pads));
        if size.known().is_some() && padded == Dim::Unknown {
            return Err(format!("cannot pad {} by {begin} and {end}", show(x)).into());
        }
        shape.push(padded);
    }
    c.one(Some(shape))
}

/// Begin and end for every axis; `None` where they are computed while the network runs.
pub(crate) fn pads(c: &Context, rank: usize) -> Result<Option<Vec<(i64, i64)>>, Trouble> {
    let (Ok(pads), Ok(axes)) = (c.ints_from("pads", 1), c.ints_from("axes", 3)) else { return Ok(None) };
    let pads = pads.or_else(|| c.node.attrs.ints("paddings").map(<[i64]>::to_vec)).unwrap_or_default();
    let axes = match axes {
        Some(axes) => c.axes(&axes, rank)?,
        None => (0..rank).collect(),
    };
    if let Some(amount) = pads.iter().find(|amount| amount.unsigned_abs() > MOST_PADDING) {
        return Err(format!("cannot pad by {amount}").into());
    }
    if pads.len() != 2 * axes.len() {
        return Err(format!("pads {pads:?} are not two for each of {} axes", axes.len()).into());
    }
    let mut all = vec![(0, 0); rank];
    for (i, axis) in axes.iter().enumerate() {
        all[*axis] = (pads[i], pads[axes.len() + i]);
    }
    Ok(Some(all))
}

/// Broadcast to a given shape.
pub(super) fn expand(c: &Context) -> Outputs {
    let (Some(x), Some(target)) = (c.shape(0), c.items(1)) else { return c.one(None) };
    if target.items.iter().filter_map(Item::int).any(|size| size < 0) {
        return Err("a size of the target shape is negative".to_owned().into());
    }
    c.one(Some(dims::broadcast([x, &target.items.iter().map(Item::dim).collect()])?))
}

/// Each axis repeated.
pub(super) fn tile(c: &Context) -> Outputs {
    let Some(x) = c.shape(0) else { return c.one(None) };
    let Some(repeats) = c.items(1) else { return c.one(Some(vec![Dim::Unknown; x.len()])) };
    if repeats.items.len() != x.len() {
        return Err(format!("has {} repeats for a tensor of shape {}", repeats.items.len(), show(x)).into());
    }
    let sizes = x.iter().zip(&repeats.items).map(|(size, repeat)| match repeat.int() {
        Some(repeat) => symbol::multiply(size, repeat),
        None if size.known() == Some(1) => repeat.dim(),
        None => Dim::Unknown,
    });
    c.one(Some(sizes.collect()))
}
