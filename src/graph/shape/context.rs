//! What an operator's inference sees of its node.

use std::cell::RefCell;

use super::MOST_DIMS;
use super::fact::{Fact, Items, MOST_ITEMS};
use crate::graph::dim::{Dim, Shape};
use crate::graph::error::EXPORT_AGAIN;
use crate::graph::model::Node;
use crate::graph::tensor::DataType;

/// One node and what is known about its inputs.
pub(crate) struct Context<'a> {
    pub node: &'a Node,
    /// Version of ONNX's own operator set.
    pub opset: i64,
    /// By position; `None` if an optional input is absent.
    pub inputs: Vec<Option<&'a Fact>>,
    /// Contradictions that leave the outputs' shape clear, so that what follows can be checked as well.
    pub troubles: RefCell<Vec<Trouble>>,
}

/// An error of a node, and its fix.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub detail: String,
    pub hint: String,
}

/// Facts about the outputs in order; missing ones are unknown.
pub(crate) type Outputs = Result<Vec<Fact>, Trouble>;

impl From<String> for Trouble {
    fn from(detail: String) -> Self {
        Self { detail, hint: EXPORT_AGAIN.to_owned() }
    }
}

impl<'a> Context<'a> {
    pub fn new(node: &'a Node, opset: i64, inputs: Vec<Option<&'a Fact>>) -> Self {
        Self { node, opset, inputs, troubles: RefCell::default() }
    }

    /// Notes a contradiction and goes on.
    pub fn report(&self, trouble: impl Into<Trouble>) {
        self.troubles.borrow_mut().push(trouble.into());
    }

    pub fn fact(&self, index: usize) -> Option<&Fact> {
        self.inputs.get(index).copied().flatten()
    }

    pub fn has(&self, index: usize) -> bool {
        self.fact(index).is_some()
    }

    pub fn dtype(&self, index: usize) -> Option<DataType> {
        self.fact(index)?.dtype
    }

    pub fn shape(&self, index: usize) -> Option<&Shape> {
        self.fact(index)?.shape.as_ref()
    }

    /// A constant integer tensor, flattened; `None` where it is longer than what decides about a shape can be: many nodes may
    /// read the same one, and each of them copies it.
    pub fn ints(&self, index: usize) -> Option<Vec<i64>> {
        self.fact(index)?.tensor().filter(|tensor| tensor.len() <= MOST_ITEMS)?.to_i64()
    }

    /// Integers that may be partly known.
    pub fn items(&self, index: usize) -> Option<Items> {
        Items::of(self.fact(index)?.known.as_ref()?)
    }

    /// Integers from an attribute, as older operator sets have it, or else from a constant input. `Ok(None)` where both
    /// are absent; `Err(())` where the input is no constant.
    pub fn ints_from(&self, attribute: &str, input: usize) -> Result<Option<Vec<i64>>, NotConstant> {
        if let Some(values) = self.node.attrs.ints(attribute) {
            return Ok(Some(values.to_vec()));
        }
        if !self.has(input) {
            return Ok(None);
        }
        self.ints(input).map(Some).ok_or(NotConstant)
    }

    pub fn int(&self, attribute: &str, default: i64) -> i64 {
        self.node.attrs.int(attribute, default)
    }

    /// An axis counted from the front.
    pub fn axis(&self, axis: i64, rank: usize) -> Result<usize, Trouble> {
        let counted = if axis < 0 { axis.checked_add_unsigned(rank as u64) } else { Some(axis) };
        let index = counted.and_then(|axis| usize::try_from(axis).ok()).filter(|axis| *axis < rank);
        index.ok_or_else(|| format!("axis {axis} does not exist in a tensor of {rank} dimensions").into())
    }

    /// Axes counted from the front, none of them twice.
    pub fn axes(&self, axes: &[i64], rank: usize) -> Result<Vec<usize>, Trouble> {
        let mut counted = Vec::with_capacity(rank);
        for axis in axes {
            let axis = self.axis(*axis, rank)?;
            if counted.contains(&axis) {
                return Err(format!("names axis {axis} twice").into());
            }
            counted.push(axis);
        }
        Ok(counted)
    }

    /// One output of the first input's type.
    pub fn one(&self, shape: Option<Shape>) -> Outputs {
        Ok(vec![Fact::new(self.dtype(0), shape)])
    }
}

/// An input that decides a shape is computed while the network runs.
#[derive(Debug)]
pub(crate) struct NotConstant;

/// What is said of a node that makes more than [`MOST_DIMS`].
pub(crate) fn too_many_dims() -> Trouble {
    format!("makes a tensor of more than {MOST_DIMS} dimensions").into()
}

/// A shape as people write it: `(N, 3, 32, ?)`.
pub(crate) fn show(shape: &[Dim]) -> String {
    let sizes = shape.iter().map(|dim| match dim {
        Dim::Known(size) => size.to_string(),
        Dim::Symbol(name) => name.clone(),
        Dim::Unknown => "?".to_owned(),
    });
    format!("({})", sizes.collect::<Vec<_>>().join(", "))
}
