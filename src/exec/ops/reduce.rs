//! Reductions over axes given as an attribute (ReduceSum before opset 13, the others before 18) or as an input, and the places
//! of extremes.

use tch::{Kind, TchError, Tensor};

use super::super::kernel::{Built, Spec, axis, one};

pub(super) fn mean(spec: &Spec) -> Built {
    over_axes(spec, |x, axes, keep| x.f_mean_dim(axes, keep, None))
}

pub(super) fn sum(spec: &Spec) -> Built {
    over_axes(spec, |x, axes, keep| x.f_sum_dim_intlist(axes, keep, x.f_kind()?))
}

pub(super) fn l1(spec: &Spec) -> Built {
    over_axes(spec, |x, axes, keep| x.f_abs()?.f_sum_dim_intlist(axes, keep, x.f_kind()?))
}

pub(super) fn l2(spec: &Spec) -> Built {
    over_axes(spec, |x, axes, keep| {
        let sum = x.f_square()?.f_sum_dim_intlist(axes, keep, x.f_kind()?)?;
        sum.f_sqrt()?.f_to_kind(x.f_kind()?)
    })
}

pub(super) fn sum_square(spec: &Spec) -> Built {
    over_axes(spec, |x, axes, keep| x.f_square()?.f_sum_dim_intlist(axes, keep, x.f_kind()?))
}

pub(super) fn log_sum(spec: &Spec) -> Built {
    over_axes(spec, |x, axes, keep| x.f_sum_dim_intlist(axes, keep, x.f_kind()?)?.f_log()?.f_to_kind(x.f_kind()?))
}

pub(super) fn log_sum_exp(spec: &Spec) -> Built {
    over_axes(spec, |x, axes, keep| x.f_logsumexp(axes, keep)?.f_to_kind(x.f_kind()?))
}

pub(super) fn max(spec: &Spec) -> Built {
    over_axes(spec, |x, axes, keep| extreme(x, axes, keep, f64::NEG_INFINITY, |x, axes, keep| x.f_amax(axes, keep)))
}

pub(super) fn min(spec: &Spec) -> Built {
    over_axes(spec, |x, axes, keep| extreme(x, axes, keep, f64::INFINITY, |x, axes, keep| x.f_amin(axes, keep)))
}

/// Torch has no extreme of nothing; ONNX has the infinity that any number beats, or for booleans what decides nothing.
fn extreme(
    x: &Tensor,
    axes: &[i64],
    keep: bool,
    of_nothing: f64,
    run: impl Fn(&Tensor, &[i64], bool) -> Result<Tensor, TchError>,
) -> Result<Tensor, TchError> {
    if x.numel() > 0 {
        return run(x, axes, keep);
    }
    let sum = x.f_sum_dim_intlist(axes, keep, x.f_kind()?)?;
    match x.f_kind()? {
        Kind::Bool => sum.f_full_like(f64::from(of_nothing > 0.0)),
        _ => sum.f_full_like(of_nothing),
    }
}

pub(super) fn arg_max(spec: &Spec) -> Built {
    place_of(spec, Tensor::f_argmax)
}

pub(super) fn arg_min(spec: &Spec) -> Built {
    place_of(spec, Tensor::f_argmin)
}

/// The first place of the extreme along one axis, or with `select_last_index` the last.
fn place_of(
    spec: &Spec,
    run: impl Fn(&Tensor, Option<i64>, bool) -> Result<Tensor, TchError> + Send + Sync + 'static,
) -> Built {
    let attrs = &spec.node.attrs;
    let (along, keep) = (attrs.int("axis", 0), attrs.int("keepdims", 1) != 0);
    let last = attrs.int("select_last_index", 0) != 0;
    one(move |call| {
        let x = call.tensor(0)?;
        let along = axis(along, x.dim())?;
        if !last {
            return Ok(run(x, Some(along), keep)?);
        }
        let from_behind = run(&x.f_flip([along])?, Some(along), keep)?;
        Ok(from_behind.f_neg()?.f_add_scalar(x.size()[along as usize] - 1)?)
    })
}

/// Torch multiplies along one axis at a time; from the last one on, so that the others keep their numbers.
pub(super) fn prod(spec: &Spec) -> Built {
    over_axes(spec, |x, axes, keep| {
        let mut axes = axes.to_vec();
        axes.sort_unstable_by(|a, b| b.cmp(a));
        axes.iter().try_fold(x.shallow_clone(), |x, axis| x.f_prod_dim_int(*axis, keep, x.f_kind()?))
    })
}

fn over_axes(
    spec: &Spec,
    run: impl Fn(&Tensor, &[i64], bool) -> Result<Tensor, TchError> + Send + Sync + 'static,
) -> Built {
    let keep = spec.node.attrs.int("keepdims", 1) != 0;
    let nothing_means_nothing = spec.node.attrs.int("noop_with_empty_axes", 0) != 0;
    let axes = spec.ints("axes", 1);
    one(move |call| {
        let x = call.tensor(0)?;
        let given = axes.read(call)?.unwrap_or_default();
        let rank = x.dim();
        if given.is_empty() && nothing_means_nothing {
            // Each element by itself: what is done to it before and after a sum is done all the same.
            return Ok(run(&x.f_unsqueeze(-1)?, &[rank as i64], false)?);
        }
        let axes: Vec<i64> = if given.is_empty() {
            (0..rank as i64).collect()
        } else {
            given.iter().map(|at| axis(*at, rank)).collect::<Result<_, _>>()?
        };
        // A scalar has no axes to reduce, and torch takes an empty list for all of them.
        if axes.is_empty() { Ok(x.shallow_clone()) } else { Ok(run(x, &axes, keep)?) }
    })
}
