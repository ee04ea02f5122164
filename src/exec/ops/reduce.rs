//! Reductions over axes given as an attribute (ReduceSum before opset 13, the others before 18) or as an input.

use tch::{TchError, Tensor};

use super::super::kernel::{Built, Spec, axis, one};

pub(super) fn mean(spec: &Spec) -> Built {
    over_axes(spec, |x, axes, keep| x.f_mean_dim(axes, keep, None))
}

pub(super) fn sum(spec: &Spec) -> Built {
    over_axes(spec, |x, axes, keep| x.f_sum_dim_intlist(axes, keep, x.f_kind()?))
}

pub(super) fn max(spec: &Spec) -> Built {
    over_axes(spec, |x, axes, keep| x.f_amax(axes, keep))
}

pub(super) fn min(spec: &Spec) -> Built {
    over_axes(spec, |x, axes, keep| x.f_amin(axes, keep))
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
        if given.is_empty() && nothing_means_nothing {
            return Ok(x.shallow_clone());
        }
        let rank = x.dim();
        let axes: Vec<i64> = if given.is_empty() {
            (0..rank as i64).collect()
        } else {
            given.iter().map(|at| axis(*at, rank)).collect::<Result<_, _>>()?
        };
        // A scalar has no axes to reduce, and torch takes an empty list for all of them.
        if axes.is_empty() { Ok(x.shallow_clone()) } else { Ok(run(x, &axes, keep)?) }
    })
}
