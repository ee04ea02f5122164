//! `TensorProto` to [`TensorData`] and back.

use std::sync::Arc;

use super::error::OnnxError;
use super::proto::TensorProto;
use super::proto::tensor_proto::DataLocation;
use crate::graph::{DataType, TensorData};

const STRING: i32 = 8;

/// Decodes a tensor. Raw bytes are moved out of the message, so that a model is in memory once; [`restore`] puts them
/// back. `label` names the tensor in errors.
pub(super) fn take(proto: &mut TensorProto, label: &str) -> Result<Arc<TensorData>, OnnxError> {
    let number = proto.data_type.unwrap_or_default();
    if number == STRING || !proto.string_data.is_empty() {
        return Err(OnnxError::UnsupportedTensor { tensor: label.to_owned(), kind: "a tensor of strings" });
    }
    if proto.segment.is_set() {
        return Err(OnnxError::UnsupportedTensor { tensor: label.to_owned(), kind: "split into segments" });
    }
    let dtype = DataType::from_onnx(number);
    let bad = |detail: String| OnnxError::BadTensor { tensor: label.to_owned(), detail };
    let dims = dims(&proto.dims).map_err(bad)?;
    let numbers = typed_count(proto);
    let bytes = match &mut proto.raw_data {
        // It is unknown which of the two another program uses.
        Some(raw) if !raw.is_empty() && numbers > 0 => {
            return Err(bad("it stores its data twice, as raw bytes and as numbers".to_owned()));
        }
        Some(raw) if !raw.is_empty() => std::mem::take(raw),
        _ => typed(proto, dtype),
    };
    if let Some(size) = dtype.size() {
        let expected = dims.iter().product::<usize>().checked_mul(size);
        if expected != Some(bytes.len()) {
            let detail = format!("its shape {dims:?} of {dtype:?} does not fit its {} bytes of data", bytes.len());
            return Err(bad(detail));
        }
    }
    Ok(Arc::new(TensorData { dtype, dims, bytes }))
}

/// Puts back what [`take`] moved out of this message.
pub(super) fn restore(proto: &mut TensorProto, data: &TensorData) {
    let typed = typed_count(proto);
    if let Some(raw) = &mut proto.raw_data
        && typed == 0
    {
        raw.clone_from(&data.bytes);
    }
}

/// Numbers in the typed fields.
fn typed_count(proto: &TensorProto) -> usize {
    let floats = proto.float_data.len() + proto.double_data.len();
    floats + proto.int32_data.len() + proto.int64_data.len() + proto.uint64_data.len()
}

/// Gives the message another content; its name and doc string stay.
pub(super) fn replace(proto: &mut TensorProto, data: &TensorData) {
    *proto = TensorProto {
        dims: data.dims.iter().map(|d| *d as i64).collect(),
        data_type: Some(data.dtype.to_onnx()),
        raw_data: Some(data.bytes.clone()),
        name: proto.name.take(),
        doc_string: proto.doc_string.take(),
        metadata_props: std::mem::take(&mut proto.metadata_props),
        __buffa_unknown_fields: std::mem::take(&mut proto.__buffa_unknown_fields),
        ..TensorProto::default()
    };
}

/// Where the data is, if not in this message.
pub(super) fn external_location(proto: &TensorProto) -> Option<String> {
    let external = proto.data_location == Some(DataLocation::EXTERNAL) || !proto.external_data.is_empty();
    let location = proto.external_data.iter().find(|entry| entry.key.as_deref() == Some("location"));
    external.then(|| location.and_then(|entry| entry.value.clone()).unwrap_or_default())
}

/// Sizes as usize; their product without the zeros fits a usize too, so that no later product overflows.
fn dims(dims: &[i64]) -> Result<Vec<usize>, String> {
    let sizes: Option<Vec<usize>> = dims.iter().map(|d| usize::try_from(*d).ok()).collect();
    let sizes = sizes.ok_or_else(|| format!("its shape {dims:?} has a negative size"))?;
    let product = sizes.iter().filter(|d| **d != 0).try_fold(8usize, |n, d| n.checked_mul(*d));
    product.map(|_| sizes).ok_or_else(|| format!("its shape {dims:?} is too large"))
}

/// The typed fields as little-endian bytes; empty if there are none.
fn typed(proto: &TensorProto, dtype: DataType) -> Vec<u8> {
    let narrow = |size: usize| proto.int32_data.iter().flat_map(|v| v.to_le_bytes().into_iter().take(size)).collect();
    match dtype {
        DataType::Float32 => proto.float_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DataType::Float64 => proto.double_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DataType::Int64 => proto.int64_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DataType::Int32 => narrow(4),
        DataType::Int16 | DataType::Float16 | DataType::BFloat16 => narrow(2),
        DataType::Int8 | DataType::Uint8 | DataType::Bool => narrow(1),
        DataType::Other(_) => Vec::new(),
    }
}
