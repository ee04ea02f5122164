//! `AttributeProto` to [`Attribute`] and back.

use std::sync::Arc;

use super::error::OnnxError;
use super::proto::attribute_proto::AttributeType as Type;
use super::proto::{AttributeProto, NodeProto, TensorProto};
use super::tensor;
use crate::graph::{Attribute, TensorData};

/// Decodes one attribute of a node, moving the raw bytes of a tensor out of the message.
pub(super) fn take(proto: &mut AttributeProto, node: &NodeLabel) -> Result<Attribute, OnnxError> {
    let name = proto.name.clone().unwrap_or_default();
    if proto.g.is_set() || !proto.graphs.is_empty() {
        return Ok(Attribute::Opaque);
    }
    if proto.sparse_tensor.is_set() || !proto.sparse_tensors.is_empty() {
        let tensor = format!("{} of {} `{}`", name, node.op, node.label);
        return Err(OnnxError::UnsupportedTensor { tensor, kind: "a sparse tensor" });
    }
    Ok(match kind(proto) {
        Some(Type::INT) => Attribute::Int(proto.i.unwrap_or_default()),
        Some(Type::FLOAT) => Attribute::Float(proto.f.unwrap_or_default()),
        Some(Type::STRING) => Attribute::String(proto.s.clone().unwrap_or_default()),
        Some(Type::INTS) => Attribute::Ints(proto.ints.clone()),
        Some(Type::FLOATS) => Attribute::Floats(proto.floats.clone()),
        Some(Type::STRINGS) => Attribute::Strings(proto.strings.clone()),
        Some(Type::TENSOR) => {
            let label = format!("{} of {} `{}`", name, node.op, node.label);
            Attribute::Tensor(tensor::take(proto.t.get_or_insert_default(), &label)?)
        }
        _ => Attribute::Opaque,
    })
}

/// What an attribute's errors call its node.
pub(super) struct NodeLabel {
    pub label: String,
    pub op: String,
}

impl NodeLabel {
    pub(super) fn of(proto: &NodeProto) -> Self {
        let name = proto.name.as_ref().filter(|name| !name.is_empty()).or(proto.output.first());
        Self { label: name.cloned().unwrap_or_default(), op: proto.op_type.clone().unwrap_or_default() }
    }
}

/// The declared type; files older than IR version 2 leave it out, and the field that is set tells.
fn kind(proto: &AttributeProto) -> Option<Type> {
    let set = [
        (proto.f.is_some(), Type::FLOAT),
        (proto.i.is_some(), Type::INT),
        (proto.s.is_some(), Type::STRING),
        (proto.t.is_set(), Type::TENSOR),
        (!proto.floats.is_empty(), Type::FLOATS),
        (!proto.ints.is_empty(), Type::INTS),
        (!proto.strings.is_empty(), Type::STRINGS),
    ];
    let declared = proto.r#type.filter(|kind| *kind != Type::UNDEFINED);
    // A reference to an attribute of an enclosing function has a type but no value.
    let referenced = proto.ref_attr_name.as_ref().is_some_and(|name| !name.is_empty());
    let found = set.iter().find(|(is_set, _)| *is_set).map(|(_, kind)| *kind);
    if referenced { None } else { declared.or(found) }
}

/// Puts back the bytes that [`take`] moved out of this message.
pub(super) fn restore(proto: &mut AttributeProto, value: &Attribute) {
    if let (Attribute::Tensor(data), Some(message)) = (value, proto.t.as_option_mut()) {
        tensor::restore(message, data);
    }
}

/// Gives the message another value; its name, doc string and unknown fields stay.
pub(super) fn set(proto: &mut AttributeProto, value: &Attribute) -> Result<(), OnnxError> {
    let mut message = AttributeProto {
        name: proto.name.take(),
        doc_string: proto.doc_string.take(),
        __buffa_unknown_fields: std::mem::take(&mut proto.__buffa_unknown_fields),
        ..AttributeProto::default()
    };
    let kind = match value {
        Attribute::Int(v) => {
            message.i = Some(*v);
            Type::INT
        }
        Attribute::Float(v) => {
            message.f = Some(*v);
            Type::FLOAT
        }
        Attribute::String(v) => {
            message.s = Some(v.clone());
            Type::STRING
        }
        Attribute::Ints(v) => {
            message.ints.clone_from(v);
            Type::INTS
        }
        Attribute::Floats(v) => {
            message.floats.clone_from(v);
            Type::FLOATS
        }
        Attribute::Strings(v) => {
            message.strings.clone_from(v);
            Type::STRINGS
        }
        Attribute::Tensor(v) => {
            message.t = set_tensor(proto.t.take(), v).into();
            Type::TENSOR
        }
        Attribute::Graph(_) | Attribute::Opaque => {
            let name = message.name.unwrap_or_default();
            return Err(OnnxError::Encode { detail: format!("attribute `{name}` has a value that was not read") });
        }
    };
    message.r#type = Some(kind);
    *proto = message;
    Ok(())
}

fn set_tensor(old: Option<TensorProto>, data: &Arc<TensorData>) -> TensorProto {
    let mut message = old.unwrap_or_default();
    tensor::replace(&mut message, data);
    message
}
