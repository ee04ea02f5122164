//! Flatten, Reshape, Squeeze, Unsqueeze, Transpose, DepthToSpace, SpaceToDepth (ONNX operators, opsets 1–21).

use super::super::MOST_DIMS;
use super::super::context::{Context, Outputs, Trouble, show, too_many_dims};
use super::super::fact::Item;
use super::super::{dims, symbol};
use crate::graph::dim::{Dim, Shape};

/// (…) → (product before `axis`, product from `axis` on).
pub(super) fn flatten(c: &Context) -> Outputs {
    let Some(x) = c.shape(0) else { return c.one(Some(vec![Dim::Unknown; 2])) };
    let axis = match c.int("axis", 1) {
        axis if axis == x.len() as i64 => x.len(),
        axis => c.axis(axis, x.len())?,
    };
    c.one(Some(vec![symbol::product(&x[..axis]), symbol::product(&x[axis..])]))
}

/// 0 copies a size (unless `allowzero`), -1 takes what is left.
pub(super) fn reshape(c: &Context) -> Outputs {
    let attribute = c.node.attrs.ints("shape").map(|target| target.iter().copied().map(Item::Int).collect());
    let Some(target) = attribute.or_else(|| c.items(1).map(|items| items.items)) else {
        let rank = c.shape(1).and_then(|shape| shape.first()).and_then(Dim::known).filter(|rank| *rank <= MOST_DIMS);
        return c.one(rank.map(|rank| vec![Dim::Unknown; rank]));
    };
    let x = c.shape(0);
    let mut shape = Shape::with_capacity(target.len());
    for (i, item) in target.iter().enumerate() {
        shape.push(match item {
            Item::Int(0) if c.int("allowzero", 0) == 0 => match x.map(|x| x.get(i)) {
                Some(Some(dim)) => dim.clone(),
                Some(None) => return Err(format!("copies dimension {i}, which its input does not have").into()),
                None => Dim::Unknown,
            },
            Item::Int(..=-2) => return Err("the target shape has a negative size".to_owned().into()),
            other => other.dim(),
        });
    }
    let free: Vec<usize> = (0..target.len()).filter(|i| target[*i] == Item::Int(-1)).collect();
    if free.len() > 1 {
        return Err("the target shape leaves more than one size open".to_owned().into());
    }
    if let Some(x) = x {
        fill(x, &mut shape, free.first().copied())?;
    }
    c.one(Some(shape))
}

/// Computes the one size that is left open, and checks that the number of elements stays.
fn fill(x: &Shape, shape: &mut Shape, free: Option<usize>) -> Result<(), Trouble> {
    let unknown: Vec<usize> = (0..shape.len()).filter(|i| shape[*i] == Dim::Unknown).collect();
    let open = free.or(if unknown.len() == 1 { Some(unknown[0]) } else { None });
    // A free size that stands on both sides cancels.
    let mut given = x.clone();
    let mut taken: Vec<Dim> = Vec::new();
    for (_, size) in shape.iter().enumerate().filter(|(i, _)| Some(*i) != open) {
        match given.iter().position(|dim| dim == size && matches!(size, Dim::Symbol(_))) {
            Some(at) => drop(given.remove(at)),
            None => taken.push(size.clone()),
        }
    }
    let (whole, part) = (symbol::product(&given), symbol::product(&taken));
    let differs = match (open, &whole, &part) {
        (None, Dim::Known(whole), Dim::Known(part)) => whole != part,
        (Some(_), Dim::Known(whole), Dim::Known(part)) => *part == 0 && *whole != 0 || *part != 0 && whole % part != 0,
        _ => false,
    };
    if differs {
        return Err(format!("cannot reshape {} to {}", show(x), show(shape)).into());
    }
    if let Some(open) = open {
        shape[open] = symbol::quotient(&whole, &part);
    }
    Ok(())
}

/// `axes` are an attribute before opset 13 and an input since; none means every dimension of size 1.
pub(super) fn squeeze(c: &Context) -> Outputs {
    let Some(x) = c.shape(0) else { return c.one(None) };
    let axes = match c.ints_from("axes", 1) {
        Ok(Some(axes)) => c.axes(&axes, x.len())?,
        Ok(None) if x.iter().all(|dim| dim.known().is_some()) => {
            (0..x.len()).filter(|i| x[*i] == Dim::Known(1)).collect()
        }
        _ => return c.one(None),
    };
    if let Some(axis) = axes.iter().find(|axis| !dims::may_equal(&x[**axis], &Dim::Known(1))) {
        return Err(format!("cannot remove dimension {axis} of {}, which is not 1", show(x)).into());
    }
    c.one(Some(x.iter().enumerate().filter(|(i, _)| !axes.contains(i)).map(|(_, dim)| dim.clone()).collect()))
}

/// `axes` count in the output.
pub(super) fn unsqueeze(c: &Context) -> Outputs {
    let Some(x) = c.shape(0) else { return c.one(None) };
    let Ok(axes) = c.ints_from("axes", 1) else { return c.one(None) };
    let axes = axes.ok_or_else(|| "has no axes".to_owned())?;
    let rank = x.len() + axes.len();
    // Checked before each axis is compared with all others.
    if rank > MOST_DIMS {
        return Err(too_many_dims());
    }
    let axes = c.axes(&axes, rank)?;
    let mut rest = x.iter();
    let shape = (0..rank).map(|i| if axes.contains(&i) { Dim::Known(1) } else { next(&mut rest) });
    c.one(Some(shape.collect()))
}

fn next<'a>(rest: &mut impl Iterator<Item = &'a Dim>) -> Dim {
    rest.next().cloned().unwrap_or(Dim::Unknown)
}

/// `perm` is the reverse by default.
pub(super) fn transpose(c: &Context) -> Outputs {
    let Some(x) = c.shape(0) else { return c.one(None) };
    let perm = permutation(c, x.len())?;
    c.one(Some(perm.into_iter().map(|i| x[i].clone()).collect()))
}

/// The axes of a Transpose's input in the order of its output.
pub(crate) fn permutation(c: &Context, rank: usize) -> Result<Vec<usize>, Trouble> {
    let Some(perm) = c.node.attrs.ints("perm") else { return Ok((0..rank).rev().collect()) };
    let axes: Vec<usize> = perm.iter().filter_map(|axis| usize::try_from(*axis).ok()).collect();
    let mut sorted = axes.clone();
    sorted.sort_unstable();
    if sorted.len() != perm.len() || !sorted.iter().copied().eq(0..rank) {
        return Err(format!("perm {perm:?} does not order {rank} dimensions").into());
    }
    Ok(axes)
}

/// (N, C, H, W) → (N, C / b², H · b, W · b).
pub(super) fn depth_to_space(c: &Context) -> Outputs {
    let (x, block) = (image(c)?, block(c)?);
    let Some(x) = x else { return c.one(None) };
    let channels = symbol::quotient(&x[1], &Dim::Known((block * block) as usize));
    if x[1].known().is_some() && channels == Dim::Unknown {
        return Err(format!("the channels of {} do not divide by {block}²", show(x)).into());
    }
    let [h, w] = [2, 3].map(|i| symbol::multiply(&x[i], block));
    c.one(Some(vec![x[0].clone(), channels, h, w]))
}

/// (N, C, H, W) → (N, C · b², H / b, W / b).
pub(super) fn space_to_depth(c: &Context) -> Outputs {
    let (x, block) = (image(c)?, block(c)?);
    let Some(x) = x else { return c.one(None) };
    let [h, w] = [2, 3].map(|i| symbol::floor_divide(&x[i], block));
    c.one(Some(vec![x[0].clone(), symbol::multiply(&x[1], block * block), h, w]))
}

fn image<'a>(c: &'a Context) -> Result<Option<&'a Shape>, Trouble> {
    match c.shape(0) {
        Some(x) if x.len() != 4 => Err(format!("needs (N, C, H, W), but got {}", show(x)).into()),
        x => Ok(x),
    }
}

fn block(c: &Context) -> Result<i64, Trouble> {
    let block = c.int("blocksize", 0);
    if (1..=1 << 15).contains(&block) { Ok(block) } else { Err(format!("blocksize {block} is invalid").into()) }
}
