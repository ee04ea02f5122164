//! [`Model`] and an edited [`Graph`] to bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use buffa::Message;

use super::error::OnnxError;
use super::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
    ValueInfoProto,
};
use super::{Model, Source, attribute, tensor, types};
use crate::graph::{Graph, Node, TensorData, ValueInfo};

/// Writes `graph` as an edit of the file it came from: nodes are matched by their first output, tensors and values by
/// name. What is equal stays byte for byte, what differs gets only the differing fields changed, what is missing goes,
/// what is new is inserted where the graph has it. `metadata` is added to the model's, replacing equal keys.
pub fn encode(source: &Model, graph: &Graph, metadata: &[(String, String)]) -> Result<Vec<u8>, OnnxError> {
    write(&source.source, graph, metadata)
}

/// Writes a graph that came from no file. Fails if an attribute was never read, or beyond 2 GiB.
pub fn encode_graph(graph: &Graph, ir_version: i64) -> Result<Vec<u8>, OnnxError> {
    let proto = ModelProto {
        ir_version: Some(ir_version),
        producer_name: Some(env!("CARGO_PKG_NAME").to_owned()),
        graph: GraphProto::default().into(),
        ..ModelProto::default()
    };
    write(&Source { proto, nodes: Vec::new(), initializers: Vec::new() }, graph, &[])
}

fn write(source: &Source, graph: &Graph, metadata: &[(String, String)]) -> Result<Vec<u8>, OnnxError> {
    let mut model = source.proto.clone();
    set_opsets(&mut model, graph);
    set_metadata(&mut model.metadata_props, metadata);
    let proto = model.graph.get_or_insert_default();
    if proto.name.as_deref().unwrap_or_default() != graph.name {
        proto.name = Some(graph.name.clone());
    }
    proto.node = nodes(source, std::mem::take(&mut proto.node), graph)?;
    proto.initializer = initializers(source, std::mem::take(&mut proto.initializer), graph);
    set_inputs(proto, graph);
    set_outputs(proto, graph);
    set_values(proto, graph);
    model.try_encode_to_vec().map_err(|error| OnnxError::Encode { detail: error.to_string() })
}

fn nodes(source: &Source, protos: Vec<NodeProto>, graph: &Graph) -> Result<Vec<NodeProto>, OnnxError> {
    let mut by_output: BTreeMap<&str, (NodeProto, &Node)> =
        protos.into_iter().zip(&source.nodes).map(|(proto, node)| (first_output(node), (proto, node))).collect();
    let fresh = Node::default();
    let written = graph.nodes.iter().map(|node| {
        let (proto, original) = by_output.remove(first_output(node)).unwrap_or((NodeProto::default(), &fresh));
        edit_node(proto, original, node)
    });
    written.collect()
}

fn first_output(node: &Node) -> &str {
    node.outputs.iter().find(|name| !name.is_empty()).map_or("", String::as_str)
}

fn edit_node(mut proto: NodeProto, original: &Node, node: &Node) -> Result<NodeProto, OnnxError> {
    set_string(&mut proto.name, &original.name, &node.name);
    set_string(&mut proto.op_type, &original.op, &node.op);
    set_string(&mut proto.domain, &original.domain, &node.domain);
    proto.input.clone_from(&node.inputs);
    proto.output.clone_from(&node.outputs);
    let name = |message: &AttributeProto| message.name.clone().unwrap_or_default();
    proto.attribute.retain(|message| node.attrs.get(&name(message)).is_some());
    for message in &mut proto.attribute {
        let Some(value) = node.attrs.get(&name(message)) else { continue };
        if original.attrs.get(&name(message)) == Some(value) {
            attribute::restore(message, value);
        } else {
            attribute::set(message, value)?;
        }
    }
    for (name, value) in node.attrs.0.iter().filter(|(name, _)| original.attrs.get(name).is_none()) {
        let mut message = AttributeProto { name: Some(name.clone()), ..AttributeProto::default() };
        attribute::set(&mut message, value)?;
        proto.attribute.push(message);
    }
    Ok(proto)
}

fn set_string(field: &mut Option<String>, original: &str, value: &str) {
    if original != value {
        *field = Some(value.to_owned());
    }
}

/// The old ones in the order of the file, then the new ones in the order of the graph.
fn initializers(source: &Source, protos: Vec<TensorProto>, graph: &Graph) -> Vec<TensorProto> {
    let mut written = BTreeSet::new();
    let mut tensors = Vec::with_capacity(graph.initializers.len());
    for (mut proto, original) in protos.into_iter().zip(&source.initializers) {
        let name = proto.name.clone().unwrap_or_default();
        let Some(data) = graph.initializers.get(&name) else { continue };
        if Arc::ptr_eq(data, original) || data == original {
            tensor::restore(&mut proto, data);
        } else {
            tensor::replace(&mut proto, data);
        }
        tensors.push(proto);
        written.insert(name);
    }
    let fresh = graph.initializers.iter().filter(|(name, _)| !written.contains(*name));
    tensors.extend(fresh.map(|(name, data)| new_tensor(name, data)));
    tensors
}

fn new_tensor(name: &str, data: &TensorData) -> TensorProto {
    let mut proto = TensorProto { name: Some(name.to_owned()), ..TensorProto::default() };
    tensor::replace(&mut proto, data);
    proto
}

fn name(proto: &ValueInfoProto) -> &str {
    proto.name.as_deref().unwrap_or_default()
}

/// Initializers that old exporters list among the inputs stay listed as long as they exist.
fn set_inputs(proto: &mut GraphProto, graph: &Graph) {
    let wanted: BTreeMap<&str, &ValueInfo> = graph.inputs.iter().map(|info| (info.name.as_str(), info)).collect();
    proto.input.retain(|old| wanted.contains_key(name(old)) || graph.initializers.contains_key(name(old)));
    for old in &mut proto.input {
        if let Some(info) = wanted.get(name(old)) {
            set_type(old, info);
        }
    }
    let listed: BTreeSet<String> = proto.input.iter().map(|old| name(old).to_owned()).collect();
    let fresh = graph.inputs.iter().filter(|info| !listed.contains(&info.name));
    proto.input.extend(fresh.map(types::value_info_proto));
}

fn set_outputs(proto: &mut GraphProto, graph: &Graph) {
    let mut old: BTreeMap<String, ValueInfoProto> =
        std::mem::take(&mut proto.output).into_iter().map(|info| (name(&info).to_owned(), info)).collect();
    let outputs = graph.outputs.iter().map(|info| match old.remove(&info.name) {
        Some(mut message) => {
            set_type(&mut message, info);
            message
        }
        None => types::value_info_proto(info),
    });
    proto.output = outputs.collect();
}

fn set_type(proto: &mut ValueInfoProto, info: &ValueInfo) {
    if types::value_info(proto).ty != info.ty {
        types::set_type(proto, &info.ty);
    }
}

/// Types of values that are gone go too; types of new values are not added, since a reader can infer them.
fn set_values(proto: &mut GraphProto, graph: &Graph) {
    let written: BTreeSet<&str> = (graph.nodes.iter().flat_map(|node| &node.outputs).map(String::as_str))
        .chain(graph.initializers.keys().map(String::as_str))
        .chain(graph.inputs.iter().map(|input| input.name.as_str()))
        .collect();
    proto.value_info.retain(|info| written.contains(name(info)));
    proto.quantization_annotation.retain(|a| a.tensor_name.as_deref().is_none_or(|name| written.contains(name)));
    for info in &mut proto.value_info {
        if let Some(ty) = graph.values.get(name(info))
            && types::value_type(&info.r#type).as_ref() != Some(ty)
        {
            types::set_type(info, ty);
        }
    }
}

fn set_opsets(model: &mut ModelProto, graph: &Graph) {
    let domain = |import: &OperatorSetIdProto| import.domain.clone().unwrap_or_default();
    model.opset_import.retain(|import| graph.opsets.contains_key(&domain(import)));
    for import in &mut model.opset_import {
        let version = graph.opsets.get(&domain(import)).copied();
        if import.version.unwrap_or_default() != version.unwrap_or_default() {
            import.version = version;
        }
    }
    let listed: BTreeSet<String> = model.opset_import.iter().map(domain).collect();
    for (domain, version) in graph.opsets.iter().filter(|(domain, _)| !listed.contains(*domain)) {
        let import = OperatorSetIdProto { domain: Some(domain.clone()), version: Some(*version), ..Default::default() };
        model.opset_import.push(import);
    }
}

fn set_metadata(entries: &mut Vec<StringStringEntryProto>, metadata: &[(String, String)]) {
    for (key, value) in metadata {
        match entries.iter_mut().find(|entry| entry.key.as_ref() == Some(key)) {
            Some(entry) => entry.value = Some(value.clone()),
            None => entries.push(StringStringEntryProto {
                key: Some(key.clone()),
                value: Some(value.clone()),
                ..Default::default()
            }),
        }
    }
}
