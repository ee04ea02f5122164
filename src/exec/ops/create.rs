//! Operators about shapes, types and constants. Integers stay on the CPU, where shape arithmetic is read.

use std::sync::Arc;

use tch::{Kind, Tensor};

use super::super::kernel::{Built, Call, Cause, Refusal, Spec, fail, host_floats, host_ints, one, refuse};
use super::super::tensor::{computed_in, to_tensor};
use crate::graph::{Attribute, DataType, TensorData};

/// From `start` to `end` since opset 15.
pub(super) fn shape(spec: &Spec) -> Built {
    let (start, end) = (spec.node.attrs.int("start", 0), spec.node.attrs.int("end", i64::MAX));
    one(move |call| {
        let size = call.tensor(0)?.size();
        let rank = size.len() as i64;
        let place = |at: i64| (if at < 0 { at + rank } else { at }).clamp(0, rank) as usize;
        let (start, end) = (place(start), place(end));
        Ok(Tensor::f_from_slice(&size[start.min(end)..end])?)
    })
}

pub(super) fn size(_: &Spec) -> Built {
    one(|call| Ok(Tensor::f_from_slice(&[call.tensor(0)?.numel() as i64])?.f_reshape([0i64; 0])?))
}

/// Before opset 6 the type was named.
pub(super) fn cast(spec: &Spec) -> Built {
    let number = match spec.node.attrs.string("to", "") {
        "" => spec.node.attrs.int("to", 0),
        name => DataType::from_onnx_name(name).map_or(0, |dtype| i64::from(dtype.to_onnx())),
    };
    let Some(kind) = i32::try_from(number).ok().and_then(|number| computed_in(DataType::from_onnx(number))) else {
        return refuse(format!("a cast to ONNX element type {number} is not supported"));
    };
    one(move |call| Ok(call.tensor(0)?.f_to_kind(kind)?))
}

pub(super) fn cast_like(_: &Spec) -> Built {
    one(|call| Ok(call.tensor(0)?.f_to_kind(call.tensor(1)?.f_kind()?)?))
}

pub(super) fn constant(spec: &Spec) -> Built {
    let data = constant_value(spec)?;
    let name = spec.node.output().to_owned();
    one(move |call| place(call, &name, &data))
}

/// The value of a `Constant` node, whichever attribute holds it.
fn constant_value(spec: &Spec) -> Result<Arc<TensorData>, Refusal> {
    let attrs = &spec.node.attrs;
    if let Some(tensor) = attrs.tensor("value") {
        return Ok(tensor.clone());
    }
    let first = ["value_int", "value_ints", "value_float", "value_floats"].iter().find_map(|name| attrs.get(name));
    match first {
        Some(Attribute::Int(value)) => Ok(Arc::new(TensorData::from_i64(&[], &[*value]))),
        Some(Attribute::Ints(values)) => Ok(Arc::new(TensorData::from_i64(&[values.len()], values))),
        Some(Attribute::Float(value)) => Ok(Arc::new(TensorData::from_f32(&[], &[*value]))),
        Some(Attribute::Floats(values)) => Ok(Arc::new(TensorData::from_f32(&[values.len()], values))),
        _ => refuse("its value is not a dense tensor or a list of numbers"),
    }
}

/// A constant as a tensor: floats on the device of the weights, the rest on the CPU.
fn place(call: &Call, name: &str, data: &TensorData) -> Result<Tensor, Cause> {
    let tensor = to_tensor(name, data).map_err(|error| Cause::Message(error.to_string()))?;
    match computed_in(data.dtype) {
        Some(kind) if data.dtype.is_float() => Ok(tensor.f_to_kind(kind)?.f_to_device(call.device)?),
        _ => Ok(tensor),
    }
}

pub(super) fn constant_of_shape(spec: &Spec) -> Built {
    let target = spec.ints_input(0);
    let zero = || Arc::new(TensorData::from_f32(&[1], &[0.0]));
    let value = spec.node.attrs.tensor("value").cloned().unwrap_or_else(zero);
    if computed_in(value.dtype).is_none() || value.len() != 1 {
        return refuse("its value is not a single number");
    }
    one(move |call| {
        let target = target.required(call, "the target shape")?;
        // Expanded, not filled: nothing is allocated, however large the shape.
        Ok(place(call, "value", &value)?.f_reshape([0i64; 0])?.f_expand(target.as_ref(), false)?)
    })
}

pub(super) fn range(_: &Spec) -> Built {
    one(|call| {
        let kind = call.tensor(0)?.f_kind()?;
        if matches!(kind, Kind::Float | Kind::Double) {
            let [start, limit, delta] = three(call, host_floats)?;
            let count = ((limit - start) / delta).ceil().max(0.0);
            let steps = Tensor::f_arange(count as i64, (kind, call.device))?;
            return Ok(steps.f_mul_scalar(delta)?.f_add_scalar(start)?);
        }
        let [start, limit, delta] = three(call, host_ints)?;
        if delta == 0 {
            return fail("a step of 0");
        }
        // An empty range is an error to torch.
        let end = if (limit - start).signum() == delta.signum() { limit } else { start };
        Ok(Tensor::f_arange_start_step(start, end, delta, (kind, tch::Device::Cpu))?)
    })
}

fn three<T: Copy>(call: &Call, read: impl Fn(&Tensor) -> Result<Vec<T>, Cause>) -> Result<[T; 3], Cause> {
    let number = |index| match read(call.tensor(index)?)?.first() {
        Some(number) => Ok(*number),
        None => fail("start, limit and delta are one number each"),
    };
    Ok([number(0)?, number(1)?, number(2)?])
}
