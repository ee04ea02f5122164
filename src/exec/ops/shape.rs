//! Operators that only rearrange: the same elements under another shape.

use tch::Tensor;

use super::super::kernel::{Built, Cause, Spec, axis, fail, one, refuse};

pub(super) fn identity(_: &Spec) -> Built {
    one(|call| Ok(call.tensor(0)?.shallow_clone()))
}

/// Inference: the input as it is, whatever a network exported in training form says.
pub(super) fn dropout(spec: &Spec) -> Built {
    spec.only_outputs(1)?;
    if spec.node.input(2).is_some_and(|mode| spec.graph.inputs.iter().any(|input| input.name == mode)) {
        return refuse("its training mode is an input of the network");
    }
    identity(spec)
}

pub(super) fn flatten(spec: &Spec) -> Built {
    let at = spec.node.attrs.int("axis", 1);
    one(move |call| {
        let x = call.tensor(0)?;
        let size = x.size();
        // Here, unlike anywhere else, the axis may equal the rank.
        let at = if at == size.len() as i64 { at } else { axis(at, size.len())? } as usize;
        Ok(x.f_reshape([size[..at].iter().product::<i64>(), size[at..].iter().product()])?)
    })
}

/// The target is an attribute before opset 5, an input since. In it 0 copies a size (unless `allowzero`), and -1 is what is left.
pub(super) fn reshape(spec: &Spec) -> Built {
    let target = spec.ints("shape", 1);
    let zero_is_zero = spec.node.attrs.int("allowzero", 0) != 0;
    one(move |call| {
        let x = call.tensor(0)?;
        let target = target.required(call, "the target shape")?;
        let size = x.size();
        let resolve = |(at, wanted): (usize, &i64)| match wanted {
            0 if !zero_is_zero => size.get(at).copied(),
            wanted => Some(*wanted),
        };
        match target.iter().enumerate().map(resolve).collect::<Option<Vec<i64>>>() {
            Some(shape) => Ok(x.f_reshape(shape)?),
            None => fail(format!("target shape {target:?} copies a size that {size:?} does not have")),
        }
    })
}

pub(super) fn squeeze(spec: &Spec) -> Built {
    let axes = spec.ints("axes", 1);
    one(move |call| {
        let x = call.tensor(0)?;
        let size = x.size();
        let axes = match axes.read(call)? {
            Some(axes) => normalized(&axes, size.len())?,
            None => (0..size.len()).filter(|at| size[*at] == 1).collect(),
        };
        if let Some(at) = axes.iter().find(|at| size[**at] != 1) {
            return fail(format!("axis {at} of {size:?} is not 1"));
        }
        let left: Vec<i64> = (0..size.len()).filter(|at| !axes.contains(at)).map(|at| size[at]).collect();
        Ok(x.f_reshape(left)?)
    })
}

pub(super) fn unsqueeze(spec: &Spec) -> Built {
    let axes = spec.ints("axes", 1);
    one(move |call| {
        let x = call.tensor(0)?;
        let size = x.size();
        let given = axes.required(call, "axes")?;
        let rank = size.len() + given.len();
        let axes = normalized(&given, rank)?;
        let mut old = size.into_iter();
        let shape: Vec<i64> =
            (0..rank).map(|at| if axes.contains(&at) { 1 } else { old.next().unwrap_or(1) }).collect();
        Ok(x.f_reshape(shape)?)
    })
}

fn normalized(axes: &[i64], rank: usize) -> Result<Vec<usize>, Cause> {
    axes.iter().map(|at| axis(*at, rank).map(|at| at as usize)).collect()
}

pub(super) fn transpose(spec: &Spec) -> Built {
    let order = spec.node.attrs.ints("perm").map(<[i64]>::to_vec);
    one(move |call| {
        let x = call.tensor(0)?;
        let reversed = || (0..x.dim() as i64).rev().collect();
        Ok(x.f_permute(order.clone().unwrap_or_else(reversed))?)
    })
}

/// Both shapes broadcast: a target of 1 keeps a larger size.
pub(super) fn expand(spec: &Spec) -> Built {
    let target = spec.ints_input(1);
    one(move |call| {
        let x = call.tensor(0)?;
        let (size, target) = (x.size(), target.required(call, "the target shape")?);
        let rank = size.len().max(target.len());
        let at = |sizes: &[i64], index: usize| (index + sizes.len()).checked_sub(rank).map_or(1, |at| sizes[at]);
        let shape: Vec<i64> = (0..rank)
            .map(|index| match at(&target, index) {
                1 => at(&size, index),
                wanted => wanted,
            })
            .collect();
        Ok(x.f_expand(shape, false)?)
    })
}

pub(super) fn depth_to_space(spec: &Spec) -> Built {
    let block = spec.node.attrs.int("blocksize", 0);
    // (N, b, b, C/b², H, W) or (N, C/b², b, b, H, W) to (N, C/b², H, b, W, b).
    let (by_depth, order) = match spec.node.attrs.string("mode", "DCR") {
        "DCR" => (true, [0, 3, 4, 1, 5, 2]),
        "CRD" => (false, [0, 1, 4, 2, 5, 3]),
        other => return refuse(format!("mode \"{other}\" is unknown")),
    };
    if block < 1 {
        return refuse("blocksize is missing");
    }
    one(move |call| {
        let x = call.tensor(0)?;
        let [n, c, h, w] = four(x)?;
        let depth = c / (block * block);
        let apart = if by_depth { [n, block, block, depth, h, w] } else { [n, depth, block, block, h, w] };
        Ok(x.f_reshape(apart)?.f_permute(order)?.f_reshape([n, depth, h * block, w * block])?)
    })
}

pub(super) fn space_to_depth(spec: &Spec) -> Built {
    let block = spec.node.attrs.int("blocksize", 0);
    if block < 1 {
        return refuse("blocksize is missing");
    }
    // (N, C, H/b, b, W/b, b) to (N, b, b, C, H/b, W/b) or (N, C, b, b, H/b, W/b).
    let order = match spec.node.attrs.string("mode", "DCR") {
        "DCR" => [0, 3, 5, 1, 2, 4],
        "CRD" => [0, 1, 3, 5, 2, 4],
        other => return refuse(format!("mode \"{other}\" is unknown")),
    };
    one(move |call| {
        let x = call.tensor(0)?;
        let [n, c, h, w] = four(x)?;
        let apart = [n, c, h / block, block, w / block, block];
        Ok(x.f_reshape(apart)?.f_permute(order)?.f_reshape([n, c * block * block, h / block, w / block])?)
    })
}

fn four(x: &Tensor) -> Result<[i64; 4], Cause> {
    let size = x.size();
    size.clone().try_into().or_else(|_| fail(format!("a tensor of rank 4 was expected, got {size:?}")))
}
