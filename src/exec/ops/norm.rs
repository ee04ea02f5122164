//! BatchNormalization, LayerNormalization, InstanceNormalization and GroupNormalization.

use tch::Tensor;

use super::super::kernel::{Built, Call, Cause, Spec, axis, fail, one, refuse};
use super::super::options::BatchNorm;

/// With [`BatchNorm::Batch`] as `torch.nn.BatchNorm2d` in train mode; the graph's own `training_mode` is left aside, since
/// the caller says how to run.
pub(super) fn batch_normalization(spec: &Spec) -> Built {
    spec.only_outputs(1)?;
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
