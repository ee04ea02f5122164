//! Normalization by statistics of the batch, of an image or of neighbours.

use tch::Tensor;

use super::super::kernel::{Built, Call, Cause, Spec, axis, fail, one, refuse};
use super::super::options::BatchNorm;

/// With [`BatchNorm::Batch`] as `torch.nn.BatchNorm2d` in train mode; the graph's own `training_mode` is left aside, since
/// the caller says how to run.
pub(super) fn batch_normalization(spec: &Spec) -> Built {
    spec.only_outputs(1)?;
    if spec.node.attrs.int("spatial", 1) == 0 {
        return refuse("spatial = 0 (statistics of every position) is not supported");
    }
    let epsilon = spec.float("epsilon", 1e-5);
    // ONNX's momentum is the share that stays, torch's the share that is new.
    let momentum = 1.0 - spec.float("momentum", 0.9);
    one(move |call| match call.options.batch_norm {
        BatchNorm::Running => {
            let [x, scale, bias, mean, var] = five(call)?;
            Ok(x.f_batch_norm(Some(scale), Some(bias), Some(mean), Some(var), false, momentum, epsilon, true)?)
        }
        BatchNorm::Batch { update_running } => with_batch_statistics(call, momentum, epsilon, update_running),
    })
}

fn with_batch_statistics(call: &Call, momentum: f64, epsilon: f64, update: bool) -> Result<Tensor, Cause> {
    let [x, scale, bias, mean, var] = five(call)?;
    let size = x.size();
    if size.len() < 2 || x.numel() as i64 / size[1].max(1) <= 1 {
        return fail("batch statistics need more than one value per channel: use a larger batch");
    }
    // A detached tensor shares its elements, so torch's update in place reaches the parameters without autograd knowing.
    let running = if update { Some((mean.f_detach()?, var.f_detach()?)) } else { None };
    let (mean, var) = running.as_ref().map(|(mean, var)| (mean, var)).unzip();
    Ok(x.f_batch_norm(Some(scale), Some(bias), mean, var, true, momentum, epsilon, true)?)
}

fn five<'a>(call: &Call<'a>) -> Result<[&'a Tensor; 5], Cause> {
    Ok([call.tensor(0)?, call.tensor(1)?, call.tensor(2)?, call.tensor(3)?, call.tensor(4)?])
}

pub(super) fn layer_normalization(spec: &Spec) -> Built {
    spec.only_outputs(1)?;
    let epsilon = spec.float("epsilon", 1e-5);
    let first = spec.node.attrs.int("axis", -1);
    one(move |call| {
        let x = call.tensor(0)?;
        let first = axis(first, x.dim())? as usize;
        let over = &x.size()[first..];
        // Scale and bias may be smaller and broadcast; torch wants them whole.
        let whole = |tensor: Option<&Tensor>| tensor.map(|t| t.f_expand(over, false)).transpose();
        let (scale, bias) = (whole(call.optional(1))?, whole(call.optional(2))?);
        Ok(x.f_layer_norm(over, scale.as_ref(), bias.as_ref(), epsilon, true)?)
    })
}

pub(super) fn instance_normalization(spec: &Spec) -> Built {
    let epsilon = spec.float("epsilon", 1e-5);
    one(move |call| {
        let (x, scale, bias) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
        Ok(x.f_instance_norm(Some(scale), Some(bias), None, None, true, 0.0, epsilon, true)?)
    })
}

pub(super) fn group_normalization(spec: &Spec) -> Built {
    let epsilon = spec.float("epsilon", 1e-5);
    let groups = spec.node.attrs.int("num_groups", 0);
    if groups < 1 {
        return refuse("num_groups is missing");
    }
    // Until opset 20 scale and bias were given per group.
    let per_group = spec.opset < 21;
    one(move |call| {
        let (x, scale, bias) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
        let channels = x.size().get(1).copied().unwrap_or(0);
        let repeats = if per_group { channels / groups } else { 1 };
        let spread = |tensor: &Tensor| tensor.f_repeat_interleave_self_int(repeats, 0, None);
        Ok(x.f_group_norm(groups, Some(&spread(scale)?), Some(&spread(bias)?), epsilon, true)?)
    })
}

/// x / sqrt(mean(x²) + epsilon) · scale, over the axes from `axis` on.
pub(super) fn rms_normalization(spec: &Spec) -> Built {
    let epsilon = spec.float("epsilon", 1e-5);
    let first = spec.node.attrs.int("axis", -1);
    one(move |call| {
        let x = call.tensor(0)?;
        let axes: Vec<i64> = (axis(first, x.dim())?..x.dim() as i64).collect();
        let mean = x.f_square()?.f_mean_dim(axes, true, None)?;
        Ok(x.f_mul(&mean.f_add_scalar(epsilon)?.f_rsqrt()?)?.f_mul(call.tensor(1)?)?)
    })
}

/// Added to the standard deviation, as the operator's own definition has it.
const MEAN_VARIANCE_EPSILON: f64 = 1e-9;

pub(super) fn mean_variance_normalization(spec: &Spec) -> Built {
    let axes = spec.node.attrs.ints("axes").map_or_else(|| vec![0, 2, 3], <[i64]>::to_vec);
    one(move |call| {
        let x = call.tensor(0)?;
        let centred = x.f_sub(&x.f_mean_dim(axes.as_slice(), true, None)?)?;
        let variance = centred.f_square()?.f_mean_dim(axes.as_slice(), true, None)?;
        Ok(centred.f_div(&variance.f_sqrt()?.f_add_scalar(MEAN_VARIANCE_EPSILON)?)?)
    })
}

/// x / ‖x‖ along one axis; 0 if the norm is.
pub(super) fn lp_normalization(spec: &Spec) -> Built {
    let attrs = &spec.node.attrs;
    let (along, p) = (attrs.int("axis", -1), attrs.int("p", 2));
    if !(1..=2).contains(&p) {
        return refuse(format!("p = {p} is neither 1 nor 2"));
    }
    one(move |call| {
        let x = call.tensor(0)?;
        let along = axis(along, x.dim())?;
        let norm = x.f_norm_scalaropt_dim(p, along, true)?;
        let nothing = norm.f_eq(0.0)?;
        Ok(x.f_div(&norm.f_masked_fill(&nothing, 1.0)?)?)
    })
}

/// x / (bias + alpha / size · Σ x²)^beta, the sum over `size` neighbouring channels.
pub(super) fn local_response_normalization(spec: &Spec) -> Built {
    let (alpha, beta, bias) = (spec.float("alpha", 1e-4), spec.float("beta", 0.75), spec.float("bias", 1.0));
    let size = spec.node.attrs.int("size", 0);
    if size < 1 {
        return refuse("size is missing");
    }
    let before = (size - 1) / 2;
    one(move |call| {
        let x = call.tensor(0)?;
        if x.dim() < 2 {
            return fail(format!("a tensor with channels was expected, got {:?}", x.size()));
        }
        let mut pads = vec![0; 2 * (x.dim() - 1)];
        let channels = pads.len() - 2;
        (pads[channels], pads[channels + 1]) = (before, size - 1 - before);
        let squares = x.f_square()?.f_pad(pads, "constant", 0.0)?.f_unfold(1, size, 1)?;
        let sums = squares.f_sum_dim_intlist([-1i64].as_slice(), false, None)?;
        Ok(x.f_div(&sums.f_mul_scalar(alpha / size as f64)?.f_add_scalar(bias)?.f_pow_tensor_scalar(beta)?)?)
    })
}
