//! `TypeProto` to [`ValueType`] and back.

use super::proto::__buffa::oneof::tensor_shape_proto::dimension::Value as DimValue;
use super::proto::__buffa::oneof::type_proto::Value as TypeValue;
use super::proto::tensor_shape_proto::Dimension;
use super::proto::type_proto::Tensor;
use super::proto::{TensorShapeProto, TypeProto, ValueInfoProto};
use crate::graph::{DataType, Dim, Shape, ValueInfo, ValueType};

/// A value of the graph; one without a tensor type gets an unknown one, for the executor to refuse.
pub(super) fn value_info(proto: &ValueInfoProto) -> ValueInfo {
    let unknown = ValueType { dtype: DataType::Other(0), shape: None };
    ValueInfo { name: proto.name.clone().unwrap_or_default(), ty: value_type(&proto.r#type).unwrap_or(unknown) }
}

/// `None` for what is no tensor.
pub(super) fn value_type(proto: &TypeProto) -> Option<ValueType> {
    let Some(TypeValue::TensorType(tensor)) = &proto.value else { return None };
    Some(ValueType {
        dtype: DataType::from_onnx(tensor.elem_type.unwrap_or_default()),
        shape: tensor.shape.as_option().map(|shape| shape.dim.iter().map(dim).collect()),
    })
}

fn dim(proto: &Dimension) -> Dim {
    match &proto.value {
        // Some exporters write 0 or -1 for a free size.
        Some(DimValue::DimValue(size)) => match usize::try_from(*size) {
            Ok(size) if size > 0 => Dim::Known(size),
            _ => Dim::Unknown,
        },
        Some(DimValue::DimParam(name)) if !name.is_empty() => Dim::Symbol(name.clone()),
        _ => Dim::Unknown,
    }
}

/// A new message for a value.
pub(super) fn value_info_proto(info: &ValueInfo) -> ValueInfoProto {
    let mut proto = ValueInfoProto { name: Some(info.name.clone()), ..ValueInfoProto::default() };
    set_type(&mut proto, &info.ty);
    proto
}

/// Changes the type of a value, dimension by dimension, so that denotations and unknown fields stay.
pub(super) fn set_type(proto: &mut ValueInfoProto, ty: &ValueType) {
    let message = proto.r#type.get_or_insert_default();
    let mut tensor = match message.value.take() {
        Some(TypeValue::TensorType(tensor)) => tensor,
        _ => Box::new(Tensor::default()),
    };
    tensor.elem_type = Some(ty.dtype.to_onnx());
    match &ty.shape {
        Some(shape) => set_shape(tensor.shape.get_or_insert_default(), shape),
        None => tensor.shape = None.into(),
    }
    message.value = Some(TypeValue::TensorType(tensor));
}

fn set_shape(proto: &mut TensorShapeProto, shape: &Shape) {
    proto.dim.resize_with(shape.len(), Dimension::default);
    for (message, size) in proto.dim.iter_mut().zip(shape) {
        if dim(message) == *size {
            continue;
        }
        message.value = match size {
            Dim::Known(size) => Some(DimValue::DimValue(*size as i64)),
            Dim::Symbol(name) => Some(DimValue::DimParam(name.clone())),
            Dim::Unknown => None,
        };
    }
}
