//! The graph itself: nodes in order with their attributes, named values, constant tensors.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use indexmap::IndexMap;

use super::dim::{Dim, Shape};
use super::shape::symbol;
use super::tensor::{DataType, TensorData};

/// An ONNX graph, independent of protobuf.
///
/// Values are named by strings as in ONNX; an empty input name means "absent". Every name is assigned once
/// (by a graph input, an initializer, or a node).
#[derive(Debug, Clone, Default)]
pub struct Graph {
    /// Name of the graph as the exporter gave it.
    pub name: String,
    /// Operator set version by domain; the default domain is `""`.
    pub opsets: BTreeMap<String, i64>,
    /// What a caller feeds; initializers that old exporters list here too are left out.
    pub inputs: Vec<ValueInfo>,
    /// What a caller gets.
    pub outputs: Vec<ValueInfo>,
    /// The nodes, in file order (topological in every valid file).
    pub nodes: Vec<Node>,
    /// Constant tensors by value name.
    pub initializers: IndexMap<String, Arc<TensorData>>,
    /// Shapes and types of intermediate values, as declared in the file or inferred by [`super::fold()`].
    pub values: BTreeMap<String, ValueType>,
}

/// One operator application.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Node {
    /// Name as exported; may be empty (use [`Node::label`] for messages).
    pub name: String,
    /// Operator, e.g. `Conv`.
    pub op: String,
    /// Operator domain, `""` for ONNX's own.
    pub domain: String,
    /// Names of the values read; `""` if an optional input is absent.
    pub inputs: Vec<String>,
    /// Names of the values written.
    pub outputs: Vec<String>,
    /// Attributes by name.
    pub attrs: Attributes,
    /// The module that the exporter says the node was written in, `layer1.0`; empty if it says nothing.
    pub scope: String,
}

/// One attribute value.
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    /// `INT`
    Int(i64),
    /// `FLOAT`
    Float(f32),
    /// `STRING` (bytes: ONNX does not promise UTF-8)
    String(Vec<u8>),
    /// `TENSOR`
    Tensor(Arc<TensorData>),
    /// `INTS`
    Ints(Vec<i64>),
    /// `FLOATS`
    Floats(Vec<f32>),
    /// `STRINGS`
    Strings(Vec<Vec<u8>>),
    /// A branch of an `If`.
    Graph(Branch),
    /// Another subgraph, a sparse tensor or a type: carried through by the file, not computed with.
    Opaque,
}

/// A graph inside a node, which may read values of the graph around it. Equal to itself alone.
#[derive(Debug, Clone)]
pub struct Branch(pub Arc<Graph>);

impl PartialEq for Branch {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// The attributes of a node by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attributes(pub BTreeMap<String, Attribute>);

/// A graph input or output.
#[derive(Debug, Clone, PartialEq)]
pub struct ValueInfo {
    /// Name of the value.
    pub name: String,
    /// Its type.
    pub ty: ValueType,
}

/// Element type and, if known, shape of a value.
#[derive(Debug, Clone, PartialEq)]
pub struct ValueType {
    /// Element type.
    pub dtype: DataType,
    /// `None` where even the rank is unknown.
    pub shape: Option<Shape>,
}

impl Node {
    /// What to call the node in messages: its name, or its first output if it has none.
    pub fn label(&self) -> &str {
        if self.name.is_empty() { self.outputs.first().map_or("", String::as_str) } else { &self.name }
    }

    /// The `index`-th input, or `None` if it is absent or the empty name.
    pub fn input(&self, index: usize) -> Option<&str> {
        self.inputs.get(index).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// The first output; every operator has one.
    pub fn output(&self) -> &str {
        &self.outputs[0]
    }

    /// True for an operator of ONNX's own domain with this name.
    pub fn is(&self, op: &str) -> bool {
        self.op == op && self.is_onnx()
    }

    /// True for an operator of ONNX's own domain.
    pub fn is_onnx(&self) -> bool {
        self.domain.is_empty() || self.domain == "ai.onnx"
    }
}

impl Graph {
    /// Version of ONNX's own operator set.
    pub fn opset(&self) -> i64 {
        self.opsets.get("").or_else(|| self.opsets.get("ai.onnx")).copied().unwrap_or(1)
    }

    /// Index of the node that writes each value.
    pub fn producers(&self) -> BTreeMap<&str, usize> {
        let pairs = self.nodes.iter().enumerate();
        pairs
            .flat_map(|(i, node)| node.outputs.iter().map(move |out| (out.as_str(), i)))
            .filter(|(name, _)| !name.is_empty())
            .collect()
    }

    /// Indices of the nodes that read each value, in node order, once per node.
    pub fn consumers(&self) -> BTreeMap<&str, Vec<usize>> {
        let mut map: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (i, node) in self.nodes.iter().enumerate() {
            for name in node.inputs.iter().filter(|name| !name.is_empty()) {
                let readers = map.entry(name).or_default();
                if readers.last() != Some(&i) {
                    readers.push(i);
                }
            }
        }
        map
    }

    /// True if the value leaves the graph.
    pub fn is_output(&self, value: &str) -> bool {
        self.outputs.iter().any(|output| output.name == value)
    }

    /// True if a node reads the value, or it is put out.
    pub fn is_read(&self, value: &str) -> bool {
        self.is_output(value) || self.nodes.iter().any(|node| node.inputs.iter().any(|input| input == value))
    }

    /// If a float32 value is a tensor of 16 bits that a `Cast` widens: the index of that node, and the type that is stored.
    pub fn stored_in_16_bits(&self, value: &str) -> Option<(usize, DataType)> {
        let widens = |node: &Node| node.is("Cast") && node.output() == value;
        let at = self.nodes.iter().position(widens)?;
        let source = self.initializers.get(self.nodes[at].input(0)?)?;
        let half = matches!(source.dtype, DataType::Float16 | DataType::BFloat16);
        (half && self.nodes[at].attrs.int("to", 0) == 1).then_some((at, source.dtype))
    }

    /// Shape of a value if the rank is known: graph inputs, initializers and intermediate values alike.
    pub fn shape(&self, value: &str) -> Option<Shape> {
        if let Some(tensor) = self.initializers.get(value) {
            return Some(tensor.dims.iter().copied().map(Dim::Known).collect());
        }
        let declared = || self.inputs.iter().chain(&self.outputs).find(|info| info.name == value).map(|info| &info.ty);
        self.values.get(value).or_else(declared).and_then(|ty| ty.shape.clone())
    }

    /// Elements that a value has for one image: with a batch of 1, and every other size that is not known counted as 1.
    pub fn elements(&self, value: &str) -> Option<usize> {
        let shape = self.shape(value)?;
        Some(shape.iter().fold(1, |all: usize, size| all.saturating_mul(symbol::at_one(size))))
    }

    /// `wanted`, or with a number behind it where something has that name: for values that a patch adds.
    pub fn free_name(&self, wanted: &str) -> String {
        self.written().free_name(wanted)
    }

    /// The names of all values that something writes.
    pub(crate) fn written(&self) -> Written<'_> {
        let given = self.initializers.keys().chain(self.inputs.iter().map(|input| &input.name));
        Written(given.chain(self.nodes.iter().flat_map(|node| &node.outputs)).map(String::as_str).collect())
    }

    /// Number of elements over all floating-point initializers.
    pub fn parameter_count(&self) -> usize {
        self.initializers.values().filter(|t| t.dtype.is_float()).map(|t| t.len()).sum()
    }
}

/// The names of a graph's values, for callers that need many new ones.
pub(crate) struct Written<'g>(HashSet<&'g str>);

impl Written<'_> {
    /// As [`Graph::free_name`].
    pub fn free_name(&self, wanted: &str) -> String {
        let numbered = (2..).map(|i| format!("{wanted}_{i}"));
        let mut names = std::iter::once(wanted.to_owned()).chain(numbered);
        names.find(|name| !self.0.contains(name.as_str())).unwrap_or_default()
    }
}

impl Attributes {
    /// An attribute as it is.
    pub fn get(&self, name: &str) -> Option<&Attribute> {
        self.0.get(name)
    }

    /// Sets an attribute.
    pub fn set(&mut self, name: &str, value: Attribute) {
        self.0.insert(name.to_owned(), value);
    }

    /// An `INT`, or `default` if it is absent or of another type.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        match self.get(name) {
            Some(Attribute::Int(value)) => *value,
            _ => default,
        }
    }

    /// A `FLOAT`, or `default` if it is absent or of another type.
    pub fn float(&self, name: &str, default: f32) -> f32 {
        match self.get(name) {
            Some(Attribute::Float(value)) => *value,
            _ => default,
        }
    }

    /// `INTS`, where present.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        match self.get(name) {
            Some(Attribute::Ints(values)) => Some(values),
            _ => None,
        }
    }

    /// A `STRING` that is UTF-8, or `default`.
    pub fn string<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        match self.get(name) {
            Some(Attribute::String(bytes)) => std::str::from_utf8(bytes).unwrap_or(default),
            _ => default,
        }
    }

    /// A `TENSOR`, where present.
    pub fn tensor(&self, name: &str) -> Option<&Arc<TensorData>> {
        match self.get(name) {
            Some(Attribute::Tensor(tensor)) => Some(tensor),
            _ => None,
        }
    }
}
