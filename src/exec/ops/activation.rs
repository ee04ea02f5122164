//! Activations, element by element.

use tch::{TchError, Tensor};

use super::super::kernel::{Built, Call, Floats, Spec, one, refuse};
use crate::graph::Attribute;

pub(super) fn relu(_: &Spec) -> Built {
    one(|call| match over(call) {
        Some(mut x) => Ok(x.f_relu_()?),
        None => Ok(call.tensor(0)?.f_relu()?),
    })
}

/// Bounds are attributes before opset 11, inputs since.
pub(super) fn clip(spec: &Spec) -> Built {
    let (low, high) = (bound(spec, "min", 1), bound(spec, "max", 2));
    one(move |call| {
        let x = call.tensor(0)?;
        let (low, high) = (low.scalar(call)?, high.scalar(call)?);
        // Clamping in place would have autograd copy the input first.
        if let Some(mut x) = over(call).filter(|x| !x.requires_grad()) {
            return Ok(match (low, high) {
                (Some(low), Some(high)) => x.f_clamp_(low, high)?,
                (Some(low), None) => x.f_clamp_min_(low)?,
                (None, Some(high)) => x.f_clamp_max_(high)?,
                (None, None) => x,
            });
        }
        Ok(match (low, high) {
            (Some(low), Some(high)) => between(x, low, high)?,
            (Some(low), None) => x.f_clamp_min(low)?,
            (None, Some(high)) => x.f_clamp_max(high)?,
            (None, None) => x.shallow_clone(),
        }
        .f_to_kind(x.f_kind()?)?)
    })
}

/// `x`, no less than `low` and no more than `high`; `high` where `low` is beyond it.
///
/// ReLU6 has an operator of its own: the gradient of `clamp` takes 18 times as long (bfloat16; 11 times in f32).
fn between(x: &Tensor, low: f64, high: f64) -> Result<Tensor, TchError> {
    if (low, high) == (0.0, 6.0) && x.is_floating_point() { x.f_relu6() } else { x.f_clamp(low, high) }
}

fn bound(spec: &Spec, attribute: &str, index: usize) -> Floats {
    match spec.node.attrs.get(attribute) {
        Some(Attribute::Float(value)) => Floats::Fixed(vec![f64::from(*value)]),
        _ => spec.floats_input(index),
    }
}

/// A handle to the first input, where it may be overwritten.
fn over(call: &Call) -> Option<Tensor> {
    call.reuse.and_then(|index| call.optional(index)).map(Tensor::shallow_clone)
}

pub(super) fn leaky_relu(spec: &Spec) -> Built {
    let slope = spec.float("alpha", 0.01);
    one(move |call| {
        let x = call.tensor(0)?;
        // tch has no leaky_relu with a slope; PReLU with one fixed slope is the same.
        let slope = Tensor::f_full([1], slope, (x.f_kind()?, x.device()))?;
        Ok(x.f_prelu(&slope)?)
    })
}

/// The slope broadcasts to x; before opset 7 it was one for each channel.
pub(super) fn prelu(spec: &Spec) -> Built {
    let old = spec.opset < 7;
    one(move |call| {
        let (x, slope) = (call.tensor(0)?, call.tensor(1)?);
        let channels = x.size().get(1).copied();
        let by_channel = old
            || slope.numel() == 1
            || (channels == Some(slope.numel() as i64)
                && slope.size().first() == channels.as_ref()
                && slope.dim() + 1 == x.dim());
        if by_channel {
            return Ok(x.f_prelu(&slope.f_reshape([-1])?)?);
        }
        Ok(x.f_relu()?.f_sub(&x.f_neg()?.f_relu()?.f_mul(slope)?)?)
    })
}

pub(super) fn hard_swish(_: &Spec) -> Built {
    unary(Tensor::f_hardswish)
}

pub(super) fn hard_sigmoid(spec: &Spec) -> Built {
    let (alpha, beta) = (spec.float("alpha", 0.2), spec.float("beta", 0.5));
    if (alpha - 1.0 / 6.0).abs() < 1e-6 && beta == 0.5 {
        return unary(Tensor::f_hardsigmoid);
    }
    unary(move |x| x.f_mul_scalar(alpha)?.f_add_scalar(beta)?.f_clamp(0.0, 1.0))
}

pub(super) fn sigmoid(_: &Spec) -> Built {
    unary(Tensor::f_sigmoid)
}

pub(super) fn tanh(_: &Spec) -> Built {
    unary(Tensor::f_tanh)
}

pub(super) fn elu(spec: &Spec) -> Built {
    let alpha = spec.float("alpha", 1.0);
    unary(move |x| {
        let below = x.f_neg()?.f_relu()?.f_neg()?.f_expm1()?.f_mul_scalar(alpha)?;
        x.f_relu()?.f_add(&below)
    })
}

pub(super) fn selu(spec: &Spec) -> Built {
    let (alpha, gamma) = (spec.float("alpha", 1.673_263_2), spec.float("gamma", 1.050_701));
    unary(move |x| {
        let below = x.f_clamp_max(0.0)?.f_expm1()?.f_mul_scalar(alpha)?;
        x.f_relu()?.f_add(&below)?.f_mul_scalar(gamma)
    })
}

pub(super) fn celu(spec: &Spec) -> Built {
    let alpha = spec.float("alpha", 1.0);
    unary(move |x| {
        let below = x.f_clamp_max(0.0)?.f_div_scalar(alpha)?.f_expm1()?.f_mul_scalar(alpha)?;
        x.f_relu()?.f_add(&below)
    })
}

pub(super) fn mish(_: &Spec) -> Built {
    unary(Tensor::f_mish)
}

/// x · sigmoid(alpha · x).
pub(super) fn swish(spec: &Spec) -> Built {
    let alpha = spec.float("alpha", 1.0);
    if alpha == 1.0 {
        return unary(Tensor::f_silu);
    }
    unary(move |x| x.f_mul_scalar(alpha)?.f_sigmoid()?.f_mul(x))
}

pub(super) fn softsign(_: &Spec) -> Built {
    unary(|x| x.f_div(&x.f_abs()?.f_add_scalar(1.0)?))
}

/// x where it is above alpha, else 0.
pub(super) fn thresholded_relu(spec: &Spec) -> Built {
    let alpha = spec.float("alpha", 1.0);
    unary(move |x| x.f_threshold(alpha, 0.0))
}

/// Towards 0 by `bias` where it is further than `lambd` from it, else 0.
pub(super) fn shrink(spec: &Spec) -> Built {
    let (bias, lambd) = (spec.float("bias", 0.0), spec.float("lambd", 0.5));
    unary(move |x| {
        let (above, below) = (x.f_gt(lambd)?, x.f_lt(-lambd)?);
        let far = above.f_logical_or(&below)?.f_to_kind(x.f_kind()?)?;
        let towards = below.f_to_kind(x.f_kind()?)?.f_sub(&above.f_to_kind(x.f_kind()?)?)?;
        x.f_mul(&far)?.f_add(&towards.f_mul_scalar(bias)?)?.f_to_kind(x.f_kind()?)
    })
}

pub(super) fn gelu(spec: &Spec) -> Built {
    match spec.node.attrs.string("approximate", "none") {
        "none" => unary(|x| x.f_gelu("none")),
        "tanh" => unary(|x| x.f_gelu("tanh")),
        other => refuse(format!("approximate \"{other}\" is unknown")),
    }
}

pub(super) fn erf(_: &Spec) -> Built {
    unary(Tensor::f_erf)
}

pub(super) fn softplus(_: &Spec) -> Built {
    unary(Tensor::f_softplus)
}

fn unary(run: impl Fn(&Tensor) -> Result<Tensor, TchError> + Send + Sync + 'static) -> Built {
    one(move |call| Ok(run(call.tensor(0)?)?))
}
