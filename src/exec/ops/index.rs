//! Operators that pick, join or repeat parts of tensors.

use tch::Tensor;

use super::super::kernel::{Built, Call, Cause, Ints, Spec, axis, fail, many, one, refuse};
use super::scatter::from_front;

pub(super) fn concat(spec: &Spec) -> Built {
    let along = spec.node.attrs.int("axis", 1);
    one(move |call| Ok(Tensor::f_cat(&call.present(), along)?))
}

/// Sizes are an attribute before opset 13, an input since; without any, equal parts, the last one possibly smaller.
pub(super) fn split(spec: &Spec) -> Built {
    let sizes = spec.ints("split", 1);
    let along = spec.node.attrs.int("axis", 0);
    let parts = spec.node.outputs.len() as i64;
    many(move |call| {
        let x = call.tensor(0)?;
        let along = axis(along, x.dim())?;
        let sizes = match sizes.read(call)? {
            Some(sizes) => sizes.into_owned(),
            None => equal_parts(x.size()[along as usize], parts),
        };
        if sizes.len() as i64 != parts {
            return fail(format!("{parts} outputs but sizes {sizes:?}"));
        }
        Ok(x.f_split_with_sizes(&sizes, along)?)
    })
}

fn equal_parts(size: i64, parts: i64) -> Vec<i64> {
    let part = (size + parts - 1) / parts;
    (0..parts).map(|index| (size - index * part).clamp(0, part)).collect()
}

/// Starts, ends and axes are attributes before opset 10, inputs (with steps) since.
pub(super) fn slice(spec: &Spec) -> Built {
    let (starts, ends) = (spec.ints("starts", 1), spec.ints("ends", 2));
    let (axes, steps) = (spec.ints("axes", 3), spec.ints_input(4));
    one(move |call| {
        let mut x = call.tensor(0)?.shallow_clone();
        let (starts, ends) = (starts.required(call, "starts")?, ends.required(call, "ends")?);
        let axes = axes.read(call)?.map_or_else(|| (0..starts.len() as i64).collect(), |axes| axes.into_owned());
        let steps = steps.read(call)?.map_or_else(|| vec![1; starts.len()], |steps| steps.into_owned());
        if [ends.len(), axes.len(), steps.len()].iter().any(|count| *count != starts.len()) {
            return fail(format!(
                "starts {starts:?}, ends {ends:?}, axes {axes:?} and steps {steps:?} differ in length"
            ));
        }
        for index in 0..starts.len() {
            x = slice_axis(&x, axes[index], starts[index], ends[index], steps[index])?;
        }
        Ok(x)
    })
}

fn slice_axis(x: &Tensor, along: i64, start: i64, end: i64, step: i64) -> Result<Tensor, Cause> {
    let along = axis(along, x.dim())?;
    let size = x.size()[along as usize];
    let from_front = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
    if step > 0 {
        let (start, end) = (from_front(start).clamp(0, size), from_front(end).clamp(0, size));
        return Ok(x.f_slice(along, start, end.max(start), step)?);
    }
    if step == 0 {
        return fail("a step of 0");
    }
    // Torch has no backward steps, so the elements are picked one by one; an end before the first element is -1.
    let (start, end) = (from_front(start).clamp(-1, size - 1), from_front(end).clamp(-1, size - 1));
    let picks: Vec<i64> =
        std::iter::successors(Some(start), |at| at.checked_add(step)).take_while(|at| *at > end).collect();
    pick(x, along, &picks)
}

/// One number for each of `count` places along an axis that a network makes. Their memory is asked for first: without it a list that
/// grows ends the process.
pub(super) fn places<T>(count: i64, numbers: impl Iterator<Item = T>) -> Result<Vec<T>, Cause> {
    const MOST: usize = 1 << 31;
    let mut all = Vec::new();
    match usize::try_from(count) {
        Ok(count) if count <= MOST && all.try_reserve_exact(count).is_ok() => {
            all.extend(numbers.take(count));
            Ok(all)
        }
        _ => fail(format!("an axis of {count} elements does not fit into memory")),
    }
}

/// The elements at these places along an axis.
pub(super) fn pick(x: &Tensor, along: i64, places: &[i64]) -> Result<Tensor, Cause> {
    Ok(x.f_index_select(along, &Tensor::f_from_slice(places)?.f_to_device(x.device())?)?)
}

/// The result is the data with one axis replaced by the shape of the indices; negative indices count from the end.
pub(super) fn gather(spec: &Spec) -> Built {
    let along = spec.node.attrs.int("axis", 0);
    one(move |call| {
        let (data, indices) = (call.tensor(0)?, call.tensor(1)?);
        let along = axis(along, data.dim())?;
        let size = data.size();
        let last = size[along as usize];
        let flat = from_front(&indices.f_reshape([-1])?, last, data)?;
        let shape = [&size[..along as usize], &indices.size(), &size[along as usize + 1..]].concat();
        Ok(data.f_index_select(along, &flat)?.f_reshape(shape)?)
    })
}

/// Before opset 6 along one axis, both given as numbers.
pub(super) fn tile(spec: &Spec) -> Built {
    let repeats = spec.ints_input(1);
    if spec.opset < 6 {
        let along = spec.ints_input(2);
        let first =
            |ints: &Ints, call: &Call, what| Ok::<_, Cause>(ints.required(call, what)?.first().copied().unwrap_or(0));
        return one(move |call| {
            let x = call.tensor(0)?;
            let mut times = vec![1; x.dim()];
            times[axis(first(&along, call, "axis")?, x.dim())? as usize] = first(&repeats, call, "tiles")?;
            Ok(x.f_repeat(times)?)
        });
    }
    one(move |call| Ok(call.tensor(0)?.f_repeat(repeats.required(call, "repeats")?.as_ref())?))
}

/// Amounts and value are attributes before opset 11, inputs (with axes since 18) after.
pub(super) fn pad(spec: &Spec) -> Built {
    let attrs = &spec.node.attrs;
    // In opset 1 they had another name.
    let name = if spec.opset < 2 { "paddings" } else { "pads" };
    let (amounts, axes) = (spec.ints(name, 1), spec.ints_input(3));
    let (old_value, value) = (f64::from(attrs.float("value", 0.0)), spec.floats_input(2));
    let outside = match attrs.string("mode", "constant") {
        "constant" => None,
        "edge" => Some(Outside::Edge),
        "reflect" => Some(Outside::Reflect),
        "wrap" => Some(Outside::Wrap),
        other => return refuse(format!("mode \"{other}\" is unknown")),
    };
    one(move |call| {
        let x = call.tensor(0)?;
        let pads = pads_by_axis(call, x, &amounts, &axes)?;
        match &outside {
            Some(outside) => pads
                .iter()
                .enumerate()
                .filter(|(_, pads)| **pads != (0, 0))
                .try_fold(x.shallow_clone(), |x, (along, pads)| outside.pad(&x, along as i64, *pads)),
            None => super::window::pad(x, &pads, value.scalar(call)?.unwrap_or(old_value)),
        }
    })
}

fn pads_by_axis(call: &Call, x: &Tensor, amounts: &Ints, axes: &Ints) -> Result<Vec<(i64, i64)>, Cause> {
    let amounts = amounts.required(call, "pads")?;
    let axes = axes.read(call)?.map_or_else(|| (0..x.dim() as i64).collect(), |axes| axes.into_owned());
    if amounts.len() != 2 * axes.len() {
        return fail(format!("pads {amounts:?} do not fit {} axes", axes.len()));
    }
    let mut pads = vec![(0, 0); x.dim()];
    for (index, along) in axes.iter().enumerate() {
        pads[axis(*along, x.dim())? as usize] = (amounts[index], amounts[axes.len() + index]);
    }
    Ok(pads)
}

/// Where elements outside a tensor come from.
enum Outside {
    Edge,
    Reflect,
    Wrap,
}

impl Outside {
    fn pad(&self, x: &Tensor, along: i64, (before, after): (i64, i64)) -> Result<Tensor, Cause> {
        let size = x.size()[along as usize];
        if size == 0 {
            return fail("an empty axis has nothing to pad with");
        }
        let ends = before.checked_neg().zip(size.checked_add(after));
        let ends = ends.and_then(|(from, to)| Some((from, to, to.checked_sub(from)?)));
        let Some((from, to, count)) = ends else {
            return fail(format!("cannot pad an axis of {size} by {before} and {after}"));
        };
        pick(x, along, &places(count.max(0), (from..to).map(|at| self.inside(at, size)))?)
    }

    fn inside(&self, at: i64, size: i64) -> i64 {
        match self {
            Self::Edge => at.clamp(0, size - 1),
            Self::Wrap => at.rem_euclid(size),
            Self::Reflect if size == 1 => 0,
            Self::Reflect => {
                let period = 2 * (size - 1);
                let at = at.rem_euclid(period);
                at.min(period - at)
            }
        }
    }
}
