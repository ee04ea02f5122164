//! Between [`TensorData`] and torch tensors.

use tch::{Kind, Tensor};

use super::error::ExecError;
use super::torch_message::torch_message;
use crate::graph::{DataType, TensorData};

/// A tensor on the CPU with a constant's type, shape and elements.
///
/// Errors if the bytes do not fill the shape or torch has no such element type; `name` is for the message.
pub fn to_tensor(name: &str, data: &TensorData) -> Result<Tensor, ExecError> {
    let problem = |detail: String| ExecError::Tensor { name: name.to_owned(), detail };
    let kind = kind(data.dtype).ok_or_else(|| problem(format!("element type {:?} is not supported", data.dtype)))?;
    let needed = data
        .dims
        .iter()
        .try_fold(data.dtype.size().unwrap_or(1), |bytes, dim| bytes.checked_mul(*dim))
        .ok_or_else(|| problem(format!("shape {:?} is too large", data.dims)))?;
    if needed != data.bytes.len() {
        return Err(problem(format!("shape {:?} needs {needed} bytes, got {}", data.dims, data.bytes.len())));
    }
    let size: Vec<i64> = data.dims.iter().map(|dim| *dim as i64).collect();
    Tensor::f_from_data_size(&data.bytes, &size, kind).map_err(|error| problem(torch_message(&error)))
}

/// A tensor's elements as a constant of this element type.
pub fn from_tensor(name: &str, tensor: &Tensor, dtype: DataType) -> Result<TensorData, ExecError> {
    let problem = |detail: String| ExecError::Tensor { name: name.to_owned(), detail };
    let size = dtype.size().ok_or_else(|| problem(format!("element type {dtype:?} is not supported")))?;
    let kind = kind(dtype).ok_or_else(|| problem(format!("element type {dtype:?} is not supported")))?;
    let copy = || {
        let host = tensor.f_detach()?.f_to_device(tch::Device::Cpu)?.f_to_kind(kind)?.f_contiguous()?;
        let mut bytes = vec![0; host.numel() * size];
        host.f_copy_data_u8(&mut bytes, host.numel())?;
        Ok(bytes)
    };
    let bytes = copy().map_err(|error| problem(torch_message(&error)))?;
    Ok(TensorData { dtype, dims: tensor.size().iter().map(|dim| *dim as usize).collect(), bytes })
}

/// Torch's name for an element type.
pub(super) fn kind(dtype: DataType) -> Option<Kind> {
    Some(match dtype {
        DataType::Float32 => Kind::Float,
        DataType::Float64 => Kind::Double,
        DataType::Float16 => Kind::Half,
        DataType::BFloat16 => Kind::BFloat16,
        DataType::Int8 => Kind::Int8,
        DataType::Uint8 => Kind::Uint8,
        DataType::Int16 => Kind::Int16,
        DataType::Int32 => Kind::Int,
        DataType::Int64 => Kind::Int64,
        DataType::Bool => Kind::Bool,
        DataType::Other(_) => return None,
    })
}

/// The element type that values of this type are computed in: half precisions widen to f32, as fitting in them loses too
/// much.
pub(super) fn computed_in(dtype: DataType) -> Option<Kind> {
    match dtype {
        DataType::Float16 | DataType::BFloat16 => Some(Kind::Float),
        other => kind(other),
    }
}
