//! Tensors as ONNX Runtime is fed them.

use tch::{Kind, TchError, Tensor};

use crate::onnxruntime::Elements;

/// The elements of a tensor, row-major; what is of no type that ONNX Runtime is fed here, as float32.
///
/// # Errors
/// Those of libtorch.
pub fn elements(tensor: &Tensor) -> Result<Elements, TchError> {
    let flat = tensor.f_flatten(0, -1)?;
    Ok(match tensor.kind() {
        Kind::Int64 => Elements::Int(Vec::try_from(flat)?),
        Kind::Int => Elements::Int32(Vec::try_from(flat)?),
        Kind::Uint8 => Elements::Byte(Vec::try_from(flat)?),
        Kind::Bool => Elements::Bool(Vec::try_from(flat)?),
        Kind::Double => Elements::Double(Vec::try_from(flat)?),
        _ => Elements::Float(Vec::try_from(flat.f_to_kind(Kind::Float)?)?),
    })
}
