//! Bytes to [`Model`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use buffa::{DecodeError, DecodeOptions};
use indexmap::IndexMap;

use super::attribute::{self, NodeLabel};
use super::error::OnnxError;
use super::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};
use super::{Model, Source, sniff, tensor, types};
use crate::graph::{Attribute, Attributes, Branch, Graph, Node, TensorData};

/// No larger file is read: protobuf ends at 2 GiB, and what is read has to be written again, a little larger.
pub const MAX_BYTES: usize = 3 << 29;

/// What the elements of repeated messages may take in memory. A million-fold repeated empty node is 2 bytes each in the
/// file; real networks of ten thousand nodes need some 20 MB.
const MAX_ELEMENT_MEMORY: usize = 256 << 20;

/// Much in the core takes the square of the number of nodes, at a small factor: real networks have ten thousand at most.
const MOST_NODES: usize = 100_000;

/// Each is looked up by walking them all.
const MOST_OUTPUTS: usize = 1000;

/// Each is walked past as well. Weights that old exporters list among the inputs are not counted.
const MOST_INPUTS: usize = 1000;

/// What all nodes read and write, one name after the other; real networks have a few for each node.
const MOST_NAMES: usize = 1_000_000;

/// Numbers in the attributes of all nodes, tensors left out. A byte of the file is eight in memory, several times over, and what is
/// long in a network is a tensor.
const MOST_NUMBERS: usize = 1 << 20;

/// Deep enough for any network; only nested types and subgraphs nest at all.
pub(super) const MAX_DEPTH: u32 = 64;

/// Reads an ONNX file. Raw tensor data is held once, shared between [`Model::graph`] and what is kept for writing.
pub fn decode(bytes: &[u8]) -> Result<Model, OnnxError> {
    if bytes.len() > MAX_BYTES {
        return Err(OnnxError::TooLarge { bytes: bytes.len(), limit: MAX_BYTES });
    }
    sniff::refuse_other_formats(bytes)?;
    let mut proto: ModelProto = options().decode_from_slice(bytes).map_err(|error| explain(bytes, &error))?;
    refuse_unreadable(bytes, &proto)?;
    let graph_proto = proto.graph.get_or_insert_default();
    let initializers = initializers(graph_proto)?;
    let nodes: Vec<Node> = graph_proto.node.iter_mut().map(|proto| node(proto, true)).collect::<Result<_, _>>()?;
    let mut graph = graph(&proto.graph, nodes.clone(), &initializers)?;
    graph.opsets = opsets(&proto);
    Ok(Model {
        graph,
        source: Source { proto, nodes, initializers: initializers.into_iter().map(|(_, t)| t).collect() },
    })
}

/// With the limits that hold for every network.
pub(super) fn options() -> DecodeOptions {
    DecodeOptions::new()
        .with_recursion_limit(MAX_DEPTH)
        .with_max_message_size(MAX_BYTES)
        .with_unknown_field_limit(100_000)
        .with_element_memory_limit(MAX_ELEMENT_MEMORY)
}

/// A graph inside a node. Nothing is kept of the message.
fn branch(proto: &mut GraphProto) -> Result<Graph, OnnxError> {
    let initializers = initializers(proto)?;
    let nodes: Vec<Node> = proto.node.iter_mut().map(|proto| node(proto, false)).collect::<Result<_, _>>()?;
    graph(proto, nodes, &initializers)
}

/// A graph and all that are inside its nodes.
fn graphs(graph: &GraphProto) -> Vec<&GraphProto> {
    let mut all = vec![graph];
    let mut at = 0;
    while let Some(graph) = all.get(at).copied() {
        let attributes = graph.node.iter().flat_map(|node| &node.attribute);
        all.extend(attributes.flat_map(|attribute| attribute.g.as_option().into_iter().chain(&attribute.graphs)));
        at += 1;
    }
    all
}

/// Reads a file that holds one tensor (`TensorProto`), as ONNX's backend tests have them.
pub fn decode_tensor(bytes: &[u8]) -> Result<Arc<TensorData>, OnnxError> {
    let options = DecodeOptions::new().with_max_message_size(MAX_BYTES).with_element_memory_limit(MAX_ELEMENT_MEMORY);
    let mut proto: TensorProto = options.decode_from_slice(bytes).map_err(|error| explain(bytes, &error))?;
    let label = proto.name.clone().unwrap_or_default();
    tensor::take(&mut proto, &label)
}

fn explain(bytes: &[u8], error: &DecodeError) -> OnnxError {
    match error {
        DecodeError::RecursionLimitExceeded
        | DecodeError::UnknownFieldLimitExceeded
        | DecodeError::ElementMemoryLimitExceeded => OnnxError::TooComplex { detail: error.to_string() },
        _ => sniff::explain(bytes, error.to_string()),
    }
}

fn refuse_unreadable(bytes: &[u8], proto: &ModelProto) -> Result<(), OnnxError> {
    if proto.graph.is_unset() {
        return Err(match sniff::explain(bytes, String::new()) {
            OnnxError::Malformed { .. } => OnnxError::NoGraph,
            other => other,
        });
    }
    if proto.opset_import.is_empty() {
        return Err(OnnxError::NoOpset);
    }
    refuse_too_many(&proto.graph)?;
    if !proto.functions.is_empty() {
        let names = proto.functions.iter().filter_map(|function| function.name.clone()).take(5).collect();
        return Err(OnnxError::Functions { names });
    }
    if let Some(sparse) = proto.graph.sparse_initializer.first() {
        let tensor = sparse.values.name.clone().unwrap_or_default();
        return Err(OnnxError::UnsupportedTensor { tensor, kind: "a sparse tensor" });
    }
    refuse_external_data(&proto.graph)
}

fn refuse_too_many(graph: &GraphProto) -> Result<(), OnnxError> {
    let graphs = graphs(graph);
    let nodes = || graphs.iter().flat_map(|graph| &graph.node);
    let names = nodes().map(|node| node.input.len() + node.output.len());
    let numbers =
        nodes().flat_map(|node| &node.attribute).map(|attribute| attribute.ints.len() + attribute.floats.len());
    at_most("nodes", nodes().count(), MOST_NODES)?;
    at_most("outputs", graph.output.len(), MOST_OUTPUTS)?;
    at_most("inputs and outputs of nodes", names.sum(), MOST_NAMES)?;
    at_most("numbers in lists of attributes (store long lists as tensors)", numbers.sum(), MOST_NUMBERS)
}

fn at_most(what: &str, count: usize, most: usize) -> Result<(), OnnxError> {
    if count <= most {
        return Ok(());
    }
    Err(OnnxError::TooComplex { detail: format!("the file has {count} {what}, more than the limit of {most}") })
}

fn refuse_external_data(graph: &GraphProto) -> Result<(), OnnxError> {
    let name = |tensor: &TensorProto| tensor.name.clone().unwrap_or_default();
    let graphs = graphs(graph);
    let external: Vec<(String, String)> = (graphs.iter().flat_map(|graph| tensors(graph)))
        .filter_map(|tensor| tensor::external_location(tensor).map(|location| (name(tensor), location)))
        .collect();
    match external.first().cloned() {
        Some((tensor, location)) => Err(OnnxError::ExternalData { tensor, count: external.len(), location }),
        None => Ok(()),
    }
}

/// The tensors of one graph.
fn tensors(graph: &GraphProto) -> impl Iterator<Item = &TensorProto> {
    let attributes = graph.node.iter().flat_map(|node| &node.attribute).filter_map(|a| a.t.as_option());
    graph.initializer.iter().chain(attributes)
}

fn initializers(proto: &mut GraphProto) -> Result<Vec<(String, Arc<TensorData>)>, OnnxError> {
    let tensors = proto.initializer.iter_mut().map(|message| {
        let name = message.name.clone().unwrap_or_default();
        let data = tensor::take(message, &name)?;
        Ok((name, data))
    });
    tensors.collect()
}

/// `kept` says whether the message is written again.
fn node(proto: &mut NodeProto, kept: bool) -> Result<Node, OnnxError> {
    let label = NodeLabel::of(proto);
    if proto.output.iter().all(String::is_empty) {
        return Err(OnnxError::Malformed { detail: format!("{} `{}` has no output", label.op, label.label) });
    }
    let mut attrs = Attributes::default();
    for message in &mut proto.attribute {
        attrs.set(&message.name.clone().unwrap_or_default(), value(message, &label, kept)?);
    }
    Ok(Node {
        name: proto.name.clone().unwrap_or_default(),
        op: label.op,
        domain: proto.domain.clone().unwrap_or_default(),
        inputs: proto.input.clone(),
        outputs: proto.output.clone(),
        attrs,
        scope: scope(proto),
    })
}

/// One attribute of a node. The branches of an `If` are decoded from a copy if the message is to be `kept`.
fn value(proto: &mut AttributeProto, node: &NodeLabel, kept: bool) -> Result<Attribute, OnnxError> {
    if !proto.g.is_set() || node.op != "If" {
        return attribute::take(proto, node);
    }
    let mut graph = if kept { proto.g.clone() } else { std::mem::take(&mut proto.g) };
    Ok(Attribute::Graph(Branch(Arc::new(branch(graph.get_or_insert_default())?))))
}

/// What PyTorch's dynamo exporter writes as `['', 'layer1', 'layer1.0', 'add_5']`: the last but one is the module.
fn scope(proto: &NodeProto) -> String {
    const SCOPES: &str = "pkg.torch.onnx.name_scopes";
    let entry = proto.metadata_props.iter().find(|entry| entry.key.as_deref() == Some(SCOPES));
    let scopes = entry.and_then(|entry| entry.value.as_deref()).unwrap_or_default();
    let mut names = scopes.trim_matches(['[', ']']).rsplit(", ").map(|name| name.trim_matches(['\'', '"']));
    names.nth(1).unwrap_or_default().to_owned()
}

/// Without operator sets, which a model has.
fn graph(proto: &GraphProto, nodes: Vec<Node>, tensors: &[(String, Arc<TensorData>)]) -> Result<Graph, OnnxError> {
    let mut initializers = IndexMap::with_capacity(tensors.len());
    for (name, data) in tensors {
        if name.is_empty() || initializers.insert(name.clone(), Arc::clone(data)).is_some() {
            return Err(OnnxError::Malformed {
                detail: format!("two initializers are named `{name}`, or one has no name"),
            });
        }
    }
    // Old exporters list every initializer among the inputs as well.
    let inputs: Vec<_> =
        proto.input.iter().map(types::value_info).filter(|input| !initializers.contains_key(&input.name)).collect();
    at_most("inputs", inputs.len(), MOST_INPUTS)?;
    let outputs: Vec<_> = proto.output.iter().map(types::value_info).collect();
    let names: BTreeSet<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
    if names.len() != outputs.len() {
        return Err(OnnxError::Malformed { detail: "two outputs have the same name".to_owned() });
    }
    let typed = |info: &super::proto::ValueInfoProto| {
        types::value_type(&info.r#type).map(|ty| (info.name.clone().unwrap_or_default(), ty))
    };
    Ok(Graph {
        name: proto.name.clone().unwrap_or_default(),
        opsets: BTreeMap::new(),
        inputs,
        outputs,
        nodes,
        initializers,
        values: proto.value_info.iter().filter_map(typed).collect(),
    })
}

fn opsets(model: &ModelProto) -> BTreeMap<String, i64> {
    let imports = model.opset_import.iter();
    imports.map(|import| (import.domain.clone().unwrap_or_default(), import.version.unwrap_or_default())).collect()
}
