//! Node attributes, with typed access that names the attribute in its error.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::model::{Graph, TensorData};

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

impl Attributes {
    /// An attribute as it is.
    pub fn get(&self, name: &str) -> Option<&Attribute> {
        self.0.get(name)
    }

    /// Sets an attribute.
    pub fn set(&mut self, name: &str, value: Attribute) {
        self.0.insert(name.to_owned(), value);
    }

    /// An `INT`, or `default` where it is absent or of another type.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        match self.get(name) {
            Some(Attribute::Int(value)) => *value,
            _ => default,
        }
    }

    /// A `FLOAT`, or `default` where it is absent or of another type.
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
