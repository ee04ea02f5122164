//! Arithmetic, comparisons and logic, element by element with broadcasting.

use tch::{Kind, TchError, Tensor};

use super::super::kernel::{Built, Call, Cause, Spec, one};

pub(super) fn add(_: &Spec) -> Built {
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

pub(super) fn sub(_: &Spec) -> Built {
    binary(Tensor::f_sub)
}

pub(super) fn mul(_: &Spec) -> Built {
    binary(Tensor::f_mul)
}

/// Integers divide towards zero.
pub(super) fn div(_: &Spec) -> Built {
    binary(|a, b| if is_integer(a.f_kind()?) { a.f_div_tensor_mode(b, "trunc") } else { a.f_div(b) })
}

/// The result has the base's type, whatever the exponent's.
pub(super) fn pow(spec: &Spec) -> Built {
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

pub(super) fn sqrt(_: &Spec) -> Built {
    unary(Tensor::f_sqrt)
}

pub(super) fn exp(_: &Spec) -> Built {
    unary(Tensor::f_exp)
}

pub(super) fn log(_: &Spec) -> Built {
    unary(Tensor::f_log)
}

pub(super) fn neg(_: &Spec) -> Built {
    unary(Tensor::f_neg)
}

pub(super) fn abs(_: &Spec) -> Built {
    unary(Tensor::f_abs)
}

pub(super) fn reciprocal(_: &Spec) -> Built {
    unary(Tensor::f_reciprocal)
}

pub(super) fn floor(_: &Spec) -> Built {
    unary(Tensor::f_floor)
}

pub(super) fn ceil(_: &Spec) -> Built {
    unary(Tensor::f_ceil)
}

pub(super) fn equal(_: &Spec) -> Built {
    binary(Tensor::f_eq_tensor)
}

pub(super) fn greater(_: &Spec) -> Built {
    binary(Tensor::f_gt_tensor)
}

pub(super) fn greater_or_equal(_: &Spec) -> Built {
    binary(Tensor::f_ge_tensor)
}

pub(super) fn less(_: &Spec) -> Built {
    binary(Tensor::f_lt_tensor)
}

pub(super) fn less_or_equal(_: &Spec) -> Built {
    binary(Tensor::f_le_tensor)
}

pub(super) fn and(_: &Spec) -> Built {
    binary(Tensor::f_logical_and)
}

pub(super) fn or(_: &Spec) -> Built {
    binary(Tensor::f_logical_or)
}

pub(super) fn not(_: &Spec) -> Built {
    unary(Tensor::f_logical_not)
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

fn binary(run: impl Fn(&Tensor, &Tensor) -> Result<Tensor, TchError> + Send + Sync + 'static) -> Built {
    one(move |call| {
        let (a, b) = pair(call, 0, 1)?;
        Ok(run(&a, &b)?)
    })
}

/// Over any number of inputs, from the left.
fn fold(run: impl Fn(&Tensor, &Tensor) -> Result<Tensor, TchError> + Send + Sync + 'static) -> Built {
    one(move |call| {
        let mut result = call.tensor(0)?.shallow_clone();
        for next in call.present().into_iter().skip(1) {
            let (a, b) = together(&result, next)?;
            result = run(&a, &b)?;
        }
        Ok(result)
    })
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
