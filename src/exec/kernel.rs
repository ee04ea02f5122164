//! What an operator sees when a network is planned ([`Spec`]) and when it runs ([`Call`]).
//!
//! An operator reads its attributes once, when the network is planned, and leaves a [`Kernel`]; what it cannot do it refuses
//! there, so that one pass over a network finds everything unsupported.

use std::borrow::Cow;
use std::collections::HashSet;

use tch::{Kind, TchError, Tensor};

use super::options::RunOptions;
use super::torch_message::torch_message;
use crate::graph::{Graph, Node, TensorData};

/// A planned operator: tensors in, tensors out.
pub(super) type Kernel = Box<dyn Fn(&Call) -> Result<Vec<Tensor>, Cause> + Send + Sync>;

/// A planned operator, or why there is none.
pub(super) type Built = Result<Kernel, Refusal>;

/// A node and what is known about it before anything runs.
pub(super) struct Spec<'a> {
    pub graph: &'a Graph,
    pub node: &'a Node,
    pub opset: i64,
    read: &'a HashSet<&'a str>,
}

/// What an operator computes with.
pub(super) struct Call<'a> {
    pub inputs: &'a [Option<&'a Tensor>],
    pub options: &'a RunOptions,
    /// Where the weights are.
    pub device: tch::Device,
    /// Index of an input that nothing else will read, so that it may be overwritten.
    pub reuse: Option<usize>,
}

/// Why a node cannot be run, and the fix.
#[derive(Debug)]
pub(super) struct Refusal {
    pub reason: String,
    pub hint: String,
}

/// Why an operator failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cause {
    #[error("{}", torch_message(.0))]
    Torch(#[from] TchError),
    #[error("{0}")]
    Message(String),
}

/// A kernel with one output.
pub(super) fn one(run: impl Fn(&Call) -> Result<Tensor, Cause> + Send + Sync + 'static) -> Built {
    Ok(Box::new(move |call| Ok(vec![run(call)?])))
}

/// A kernel with several outputs.
pub(super) fn many(run: impl Fn(&Call) -> Result<Vec<Tensor>, Cause> + Send + Sync + 'static) -> Built {
    Ok(Box::new(run))
}

/// A refusal without a hint.
pub(super) fn refuse<T>(reason: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { reason: reason.into(), hint: String::new() })
}

/// A failure with a message of our own.
pub(super) fn fail<T>(message: impl Into<String>) -> Result<T, Cause> {
    Err(Cause::Message(message.into()))
}

impl Refusal {
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}

impl<'a> Spec<'a> {
    pub(super) fn new(graph: &'a Graph, node: &'a Node, read: &'a HashSet<&'a str>) -> Self {
        Self { graph, node, opset: graph.opset(), read }
    }

    /// The constant behind an input, if it is one.
    pub(super) fn constant(&self, index: usize) -> Option<&'a TensorData> {
        self.graph.initializers.get(self.node.input(index)?).map(|tensor| tensor.as_ref())
    }

    /// Sizes of an input, if all are known.
    pub(super) fn sizes(&self, index: usize) -> Option<Vec<i64>> {
        let shape = self.graph.shape(self.node.input(index)?)?;
        shape.iter().map(|dim| dim.known().and_then(|size| i64::try_from(size).ok())).collect()
    }

    /// Refuses if an optional output that the executor does not compute is read.
    pub(super) fn only_outputs(&self, count: usize) -> Result<(), Refusal> {
        let extra = self.node.outputs.iter().skip(count).find(|name| self.read.contains(name.as_str()));
        match extra {
            Some(name) => refuse(format!("its optional output \"{name}\" is read")),
            None => Ok(()),
        }
    }

    /// Integers given as an attribute in old opsets and as an input in new ones.
    pub(super) fn ints(&self, attribute: &str, index: usize) -> Ints {
        match self.node.attrs.ints(attribute) {
            Some(values) => Ints::Fixed(values.to_vec()),
            None => self.ints_input(index),
        }
    }

    /// Integers given as an input.
    pub(super) fn ints_input(&self, index: usize) -> Ints {
        match (self.constant(index).and_then(TensorData::to_i64), self.node.input(index)) {
            (Some(values), _) => Ints::Fixed(values),
            (None, Some(_)) => Ints::Input(index),
            (None, None) => Ints::Absent,
        }
    }

    /// Floats given as an input.
    pub(super) fn floats_input(&self, index: usize) -> Floats {
        match (self.constant(index).and_then(TensorData::to_f32), self.node.input(index)) {
            (Some(values), _) => Floats::Fixed(values.into_iter().map(f64::from).collect()),
            (None, Some(_)) => Floats::Input(index),
            (None, None) => Floats::Absent,
        }
    }

    /// A `FLOAT` attribute as the decimal number it was written as.
    pub(super) fn float(&self, name: &str, default: f64) -> f64 {
        match self.node.attrs.get(name) {
            Some(crate::graph::Attribute::Float(value)) => decimal(*value),
            _ => default,
        }
    }
}

impl<'a> Call<'a> {
    /// A required input.
    pub(super) fn tensor(&self, index: usize) -> Result<&'a Tensor, Cause> {
        match self.optional(index) {
            Some(tensor) => Ok(tensor),
            None => fail(format!("input {index} is missing")),
        }
    }

    /// An optional input.
    pub(super) fn optional(&self, index: usize) -> Option<&'a Tensor> {
        self.inputs.get(index).copied().flatten()
    }

    /// All inputs that are present.
    pub(super) fn present(&self) -> Vec<&'a Tensor> {
        self.inputs.iter().copied().flatten().collect()
    }
}

/// Integers that a kernel needs on the host: axes, a target shape.
pub(super) enum Ints {
    Absent,
    /// Known when the network is planned.
    Fixed(Vec<i64>),
    /// Read from an input at each run.
    Input(usize),
}

/// Floats that a kernel needs on the host: bounds, scales.
pub(super) enum Floats {
    Absent,
    /// Known when the network is planned.
    Fixed(Vec<f64>),
    /// Read from an input at each run.
    Input(usize),
}

impl Ints {
    pub(super) fn read(&self, call: &Call) -> Result<Option<Cow<'_, [i64]>>, Cause> {
        Ok(match self {
            Self::Absent => None,
            Self::Fixed(values) => Some(Cow::Borrowed(values)),
            Self::Input(index) => call.optional(*index).map(host_ints).transpose()?.map(Cow::Owned),
        })
    }

    /// As [`Ints::read`], for an input that must be there.
    pub(super) fn required(&self, call: &Call, what: &str) -> Result<Cow<'_, [i64]>, Cause> {
        match self.read(call)? {
            Some(values) => Ok(values),
            None => fail(format!("{what} is missing")),
        }
    }
}

impl Floats {
    pub(super) fn read(&self, call: &Call) -> Result<Option<Cow<'_, [f64]>>, Cause> {
        Ok(match self {
            Self::Absent => None,
            Self::Fixed(values) => Some(Cow::Borrowed(values)),
            Self::Input(index) => call.optional(*index).map(host_floats).transpose()?.map(Cow::Owned),
        })
    }

    /// The single number, if there is one.
    pub(super) fn scalar(&self, call: &Call) -> Result<Option<f64>, Cause> {
        Ok(self.read(call)?.and_then(|values| values.first().copied()))
    }
}

/// A tensor's elements as i64, whatever its rank and device.
pub(super) fn host_ints(tensor: &Tensor) -> Result<Vec<i64>, Cause> {
    Ok(Vec::<i64>::try_from(tensor.f_detach()?.f_to_device(tch::Device::Cpu)?.f_reshape([-1])?)?)
}

/// A tensor's elements as f64, whatever its rank and device.
pub(super) fn host_floats(tensor: &Tensor) -> Result<Vec<f64>, Cause> {
    Ok(Vec::<f64>::try_from(
        tensor.f_detach()?.f_to_device(tch::Device::Cpu)?.f_reshape([-1])?.f_to_kind(Kind::Double)?,
    )?)
}

/// The number that an f32 was written as, so that 0.9 stays 0.9 and does not become 0.89999998.
pub(super) fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}

/// A non-negative axis of a tensor of this rank.
pub(super) fn axis(axis: i64, rank: usize) -> Result<i64, Cause> {
    let rank = rank as i64;
    if (-rank..rank).contains(&axis) {
        Ok(axis.rem_euclid(rank))
    } else {
        fail(format!("axis {axis} is outside a tensor of rank {rank}"))
    }
}
