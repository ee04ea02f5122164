//! Arithmetic, comparisons and logic, element by element with broadcasting.
//!
//! Before opset 7 the second input broadcast only where `broadcast` said so, aligned at `axis`.

use tch::{Kind, TchError, Tensor};

use super::super::kernel::{Built, Call, Cause, Spec, axis, fail, one};

pub(super) fn add(spec: &Spec) -> Built {
    if let Some(aligned) = Aligned::of(spec) {
        return aligned.binary(Tensor::f_add);
    }
    one(|call| {
        let (a, b) = pair(call, 0, 1)?;
        let (target, other) = if call.reuse == Some(1) { (&b, &a) } else { (&a, &b) };
        // A sum larger than the target, or wider, does not fit into it.
        if call.reuse.is_some() && target.size() == other.size() && target.f_kind()? == other.f_kind()? {
            return Ok(target.shallow_clone().f_add_(other)?);
        }
        Ok(a.f_add(&b)?)
    })
}

pub(super) fn sub(spec: &Spec) -> Built {
    binary(spec, Tensor::f_sub)
}

pub(super) fn mul(spec: &Spec) -> Built {
    binary(spec, Tensor::f_mul)
}

/// Integers divide towards zero.
pub(super) fn div(spec: &Spec) -> Built {
    binary(spec, |a, b| if is_integer(a.f_kind()?) { a.f_div_tensor_mode(b, "trunc") } else { a.f_div(b) })
}

/// The result has the base's type, whatever the exponent's.
pub(super) fn pow(spec: &Spec) -> Built {
    if let Some(aligned) = Aligned::of(spec) {
        return aligned.binary(Tensor::f_pow);
    }
    let exponent = spec.floats_input(1);
    one(move |call| {
        let base = call.tensor(0)?;
        let kind = base.f_kind()?;
        let fixed = matches!(exponent, super::super::kernel::Floats::Fixed(ref values) if values.len() == 1);
        let scalar = if fixed && call.tensor(1)?.dim() == 0 { exponent.scalar(call)? } else { None };
        match scalar {
            Some(exponent) if !is_integer(kind) => Ok(base.f_pow_tensor_scalar(exponent)?),
            _ => {
                let (base, exponent) = pair(call, 0, 1)?;
                Ok(base.f_pow(&exponent)?.f_to_kind(kind)?)
            }
        }
    })
}

pub(super) fn min(_: &Spec) -> Built {
    fold(Tensor::f_minimum)
}

pub(super) fn max(_: &Spec) -> Built {
    fold(Tensor::f_maximum)
}

pub(super) fn sum(_: &Spec) -> Built {
    fold(Tensor::f_add)
}

pub(super) fn mean(_: &Spec) -> Built {
    one(|call| {
        let inputs = call.present();
        Ok(left_fold(call, Tensor::f_add)?.f_div_scalar(inputs.len() as f64)?)
    })
}

/// The sign is the divisor's, or with `fmod` the dividend's.
pub(super) fn modulo(spec: &Spec) -> Built {
    match spec.node.attrs.int("fmod", 0) {
        0 => binary(spec, Tensor::f_remainder_tensor),
        _ => binary(spec, Tensor::f_fmod_tensor),
    }
}

/// An operator of one input that torch has under some name.
macro_rules! unary_operators {
    ($($(#[$doc:meta])* $name:ident => $run:expr,)*) => {
        $($(#[$doc])* pub(super) fn $name(_: &Spec) -> Built {
            unary($run)
        })*
    };
}

unary_operators! {
    sqrt => Tensor::f_sqrt,
    exp => Tensor::f_exp,
    log => Tensor::f_log,
    neg => Tensor::f_neg,
    abs => Tensor::f_abs,
    reciprocal => Tensor::f_reciprocal,
    floor => Tensor::f_floor,
    ceil => Tensor::f_ceil,
    /// Half goes to the even neighbour.
    round => Tensor::f_round,
    sign => Tensor::f_sign,
    sin => Tensor::f_sin,
    cos => Tensor::f_cos,
    tan => Tensor::f_tan,
    asin => Tensor::f_asin,
    acos => Tensor::f_acos,
    atan => Tensor::f_atan,
    sinh => Tensor::f_sinh,
    cosh => Tensor::f_cosh,
    asinh => Tensor::f_asinh,
    acosh => Tensor::f_acosh,
    atanh => Tensor::f_atanh,
    is_nan => Tensor::f_isnan,
    not => Tensor::f_logical_not,
}

pub(super) fn is_inf(spec: &Spec) -> Built {
    let (above, below) = (spec.node.attrs.int("detect_positive", 1), spec.node.attrs.int("detect_negative", 1));
    unary(move |x| match (above != 0, below != 0) {
        (true, true) => x.f_isinf(),
        (true, false) => x.f_isposinf(),
        (false, true) => x.f_isneginf(),
        (false, false) => x.f_isinf()?.f_logical_and(&x.f_isnan()?),
    })
}

pub(super) fn equal(spec: &Spec) -> Built {
    binary(spec, Tensor::f_eq_tensor)
}

pub(super) fn greater(spec: &Spec) -> Built {
    binary(spec, Tensor::f_gt_tensor)
}

pub(super) fn greater_or_equal(spec: &Spec) -> Built {
    binary(spec, Tensor::f_ge_tensor)
}

pub(super) fn less(spec: &Spec) -> Built {
    binary(spec, Tensor::f_lt_tensor)
}

pub(super) fn less_or_equal(spec: &Spec) -> Built {
    binary(spec, Tensor::f_le_tensor)
}

pub(super) fn and(spec: &Spec) -> Built {
    binary(spec, Tensor::f_logical_and)
}

pub(super) fn or(spec: &Spec) -> Built {
    binary(spec, Tensor::f_logical_or)
}

pub(super) fn xor(spec: &Spec) -> Built {
    binary(spec, Tensor::f_logical_xor)
}

/// Where.
pub(super) fn select(_: &Spec) -> Built {
    one(|call| {
        let (yes, no) = pair(call, 1, 2)?;
        let condition = call.tensor(0)?.f_to_device(yes.device())?;
        Ok(yes.f_where_self(&condition, &no)?)
    })
}

fn unary(run: impl Fn(&Tensor) -> Result<Tensor, TchError> + Send + Sync + 'static) -> Built {
    one(move |call| Ok(run(call.tensor(0)?)?))
}

fn binary(spec: &Spec, run: impl Fn(&Tensor, &Tensor) -> Result<Tensor, TchError> + Send + Sync + 'static) -> Built {
    if let Some(aligned) = Aligned::of(spec) {
        return aligned.binary(run);
    }
    one(move |call| {
        let (a, b) = pair(call, 0, 1)?;
        Ok(run(&a, &b)?)
    })
}

/// Over any number of inputs, from the left.
fn fold(run: impl Fn(&Tensor, &Tensor) -> Result<Tensor, TchError> + Send + Sync + 'static) -> Built {
    one(move |call| left_fold(call, &run))
}

fn left_fold(call: &Call, run: impl Fn(&Tensor, &Tensor) -> Result<Tensor, TchError>) -> Result<Tensor, Cause> {
    let mut result = call.tensor(0)?.shallow_clone();
    for next in call.present().into_iter().skip(1) {
        let (a, b) = together(&result, next)?;
        result = run(&a, &b)?;
    }
    Ok(result)
}

/// How the second input lies within the first, before opset 7.
#[derive(Clone, Copy)]
struct Aligned {
    /// The axis of the first input that the second begins at; `None` where it ends at the last one.
    axis: Option<i64>,
}

impl Aligned {
    /// `None` since opset 7, and where the shapes are the same.
    fn of(spec: &Spec) -> Option<Self> {
        let attrs = &spec.node.attrs;
        (spec.opset < 7 && attrs.int("broadcast", 0) != 0)
            .then(|| Self { axis: attrs.get("axis").map(|_| attrs.int("axis", 0)) })
    }

    fn binary(self, run: impl Fn(&Tensor, &Tensor) -> Result<Tensor, TchError> + Send + Sync + 'static) -> Built {
        one(move |call| {
            let (a, b) = pair(call, 0, 1)?;
            Ok(run(&a, &self.widened(&a, &b)?)?)
        })
    }

    /// With as many axes of size 1 behind it as bring it to its place.
    fn widened(self, a: &Tensor, b: &Tensor) -> Result<Tensor, Cause> {
        let Some(at) = self.axis else { return Ok(b.shallow_clone()) };
        let behind = a.dim() as i64 - axis(at, a.dim())? - b.dim() as i64;
        if behind < 0 {
            return fail(format!("{:?} does not fit into {:?} from axis {at} on", b.size(), a.size()));
        }
        Ok(b.f_reshape([b.size(), vec![1; behind as usize]].concat())?)
    }
}

/// Two inputs on one device.
fn pair(call: &Call, first: usize, second: usize) -> Result<(Tensor, Tensor), Cause> {
    Ok(together(call.tensor(first)?, call.tensor(second)?)?)
}

/// Shape arithmetic lives on the CPU; where it meets a feature map it moves there.
fn together(a: &Tensor, b: &Tensor) -> Result<(Tensor, Tensor), TchError> {
    if a.device() == b.device() {
        Ok((a.shallow_clone(), b.shallow_clone()))
    } else if a.device() == tch::Device::Cpu {
        Ok((a.f_to_device(b.device())?, b.shallow_clone()))
    } else {
        Ok((a.shallow_clone(), b.f_to_device(a.device())?))
    }
}

fn is_integer(kind: Kind) -> bool {
    matches!(kind, Kind::Uint8 | Kind::Int8 | Kind::Int16 | Kind::Int | Kind::Int64)
}
