//! The graph itself: nodes in order, named values, constant tensors.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use indexmap::IndexMap;

use super::attrs::Attributes;
use super::shape::symbol;
use super::value::numbers::Numbers;

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
    /// Names of the values read; `""` where an optional input is absent.
    pub inputs: Vec<String>,
    /// Names of the values written.
    pub outputs: Vec<String>,
    /// Attributes by name.
    pub attrs: Attributes,
    /// The module that the exporter says the node was written in, `layer1.0`; empty where it says nothing.
    pub scope: String,
}

/// A graph input or output.
#[derive(Debug, Clone, PartialEq)]
pub struct ValueInfo {
    /// Name of the value.
    pub name: String,
    /// Its type.
    pub ty: ValueType,
}

/// Element type and, where known, shape of a value.
#[derive(Debug, Clone, PartialEq)]
pub struct ValueType {
    /// Element type.
    pub dtype: DataType,
    /// `None` where even the rank is unknown.
    pub shape: Option<Shape>,
}

/// A shape, outermost dimension first: (N, C, H, W) for images.
pub type Shape = Vec<Dim>;

/// One dimension of a shape.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Dim {
    /// A fixed size.
    Known(usize),
    /// A named free size, such as the batch `N`.
    Symbol(String),
    /// Nothing is known.
    Unknown,
}

impl Dim {
    /// The size, where it is fixed.
    pub fn known(&self) -> Option<usize> {
        match self {
            Dim::Known(size) => Some(*size),
            _ => None,
        }
    }
}

/// Element types that the core handles; the numbers are ONNX's `TensorProto.DataType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DataType {
    /// 32-bit float.
    Float32,
    /// 64-bit float.
    Float64,
    /// 16-bit float.
    Float16,
    /// bfloat16.
    BFloat16,
    /// Signed 8-bit.
    Int8,
    /// Unsigned 8-bit.
    Uint8,
    /// Signed 16-bit.
    Int16,
    /// Signed 32-bit.
    Int32,
    /// Signed 64-bit.
    Int64,
    /// Boolean, one byte each.
    Bool,
    /// Anything else, by its ONNX number: carried through, never computed with.
    Other(i32),
}

/// A constant tensor: little-endian elements, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorData {
    /// Element type.
    pub dtype: DataType,
    /// Sizes, outermost first; empty for a scalar.
    pub dims: Vec<usize>,
    /// `dims.product() × element size` bytes, little-endian.
    pub bytes: Vec<u8>,
}

impl Node {
    /// What to call the node in messages: its name, or its first output where it has none.
    pub fn label(&self) -> &str {
        if self.name.is_empty() { self.outputs.first().map_or("", String::as_str) } else { &self.name }
    }

    /// The `index`-th input, or `None` where it is absent or the empty name.
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

    /// Shape of a value where the rank is known: graph inputs, initializers and intermediate values alike.
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

/// The names of a graph's values, for whoever needs many new ones.
pub(crate) struct Written<'g>(HashSet<&'g str>);

impl Written<'_> {
    /// As [`Graph::free_name`].
    pub fn free_name(&self, wanted: &str) -> String {
        let numbered = (2..).map(|i| format!("{wanted}_{i}"));
        let mut names = std::iter::once(wanted.to_owned()).chain(numbered);
        names.find(|name| !self.0.contains(name.as_str())).unwrap_or_default()
    }
}

impl DataType {
    /// From ONNX's `TensorProto.DataType`.
    pub fn from_onnx(number: i32) -> Self {
        match number {
            1 => Self::Float32,
            2 => Self::Uint8,
            3 => Self::Int8,
            5 => Self::Int16,
            6 => Self::Int32,
            7 => Self::Int64,
            9 => Self::Bool,
            10 => Self::Float16,
            11 => Self::Float64,
            16 => Self::BFloat16,
            other => Self::Other(other),
        }
    }

    /// From the name that `TensorProto.DataType` has for it, as `Cast` before opset 6.
    pub fn from_onnx_name(name: &str) -> Option<Self> {
        Some(match name {
            "FLOAT" => Self::Float32,
            "UINT8" => Self::Uint8,
            "INT8" => Self::Int8,
            "INT16" => Self::Int16,
            "INT32" => Self::Int32,
            "INT64" => Self::Int64,
            "BOOL" => Self::Bool,
            "FLOAT16" => Self::Float16,
            "DOUBLE" => Self::Float64,
            _ => return None,
        })
    }

    /// As ONNX's `TensorProto.DataType`.
    pub fn to_onnx(self) -> i32 {
        match self {
            Self::Float32 => 1,
            Self::Uint8 => 2,
            Self::Int8 => 3,
            Self::Int16 => 5,
            Self::Int32 => 6,
            Self::Int64 => 7,
            Self::Bool => 9,
            Self::Float16 => 10,
            Self::Float64 => 11,
            Self::BFloat16 => 16,
            Self::Other(number) => number,
        }
    }

    /// Bytes per element; `None` for types that the core does not compute with.
    pub fn size(self) -> Option<usize> {
        match self {
            Self::Int8 | Self::Uint8 | Self::Bool => Some(1),
            Self::Int16 | Self::Float16 | Self::BFloat16 => Some(2),
            Self::Float32 | Self::Int32 => Some(4),
            Self::Float64 | Self::Int64 => Some(8),
            Self::Other(_) => None,
        }
    }

    /// True for the floating-point types.
    pub fn is_float(self) -> bool {
        matches!(self, Self::Float32 | Self::Float64 | Self::Float16 | Self::BFloat16)
    }
}

impl TensorData {
    /// A float tensor. Panics where `values` does not fill `dims`: a bug of the caller.
    pub fn from_f32(dims: &[usize], values: &[f32]) -> Self {
        assert_eq!(dims.iter().product::<usize>(), values.len(), "values fill the shape");
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self { dtype: DataType::Float32, dims: dims.to_vec(), bytes }
    }

    /// An integer tensor. Panics where `values` does not fill `dims`: a bug of the caller.
    pub fn from_i64(dims: &[usize], values: &[i64]) -> Self {
        assert_eq!(dims.iter().product::<usize>(), values.len(), "values fill the shape");
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self { dtype: DataType::Int64, dims: dims.to_vec(), bytes }
    }

    /// Number of elements (1 for a scalar).
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// True where a dimension is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same elements in another floating-point type; `None` if one of them is none there.
    pub fn narrowed(&self, dtype: DataType) -> Option<Self> {
        let narrow = Numbers::of(self)?.tensor(dtype, &self.dims)?;
        (Numbers::of(&narrow) == Numbers::of(self)).then_some(narrow)
    }

    /// The elements as f32, where the type is Float32.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        (self.dtype == DataType::Float32).then(|| {
            self.bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four bytes"))).collect()
        })
    }

    /// The elements widened to i64, where the type is an integer or boolean one.
    pub fn to_i64(&self) -> Option<Vec<i64>> {
        let wide = match self.dtype {
            DataType::Int64 => {
                self.bytes.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().expect("eight bytes"))).collect()
            }
            DataType::Int32 => self
                .bytes
                .chunks_exact(4)
                .map(|b| i32::from_le_bytes(b.try_into().expect("four bytes")).into())
                .collect(),
            DataType::Int16 => self
                .bytes
                .chunks_exact(2)
                .map(|b| i16::from_le_bytes(b.try_into().expect("two bytes")).into())
                .collect(),
            DataType::Int8 => self.bytes.iter().map(|b| i64::from(*b as i8)).collect(),
            DataType::Uint8 | DataType::Bool => self.bytes.iter().map(|b| i64::from(*b)).collect(),
            _ => return None,
        };
        Some(wide)
    }
}
