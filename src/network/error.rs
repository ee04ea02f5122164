//! Errors of a customer's network, and of the images and settings that come with it.

use crate::exec::Unsupported;
use crate::graph::{DataType, GraphError, GraphFault};
use crate::images::{ImageError, PreprocessFault};
use crate::onnx::OnnxError;
use crate::problem::{Code, Fault};

/// The origin of a failure, and so who has to act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The input: repeating the request with the same input fails again.
    Input,
    /// This service: trying again may succeed.
    Internal,
}

/// An error of a network.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum NetworkError {
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    Images(#[from] ImageError),
    /// Operators or attributes that the executor does not have, all of them.
    #[error("{} of the model's operators are not supported: {}", .0.len(), list(.0))]
    Unsupported(Vec<Unsupported>),
    /// Several errors at once; the first one determines the code.
    #[error("{}", .0.iter().map(Self::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<NetworkError>),
    /// Weights in 16 bits: training and measuring losses need 32.
    #[error(
        "{count} tensors, such as `{tensor}`, are {dtype:?}; networks in float32 are supported: export with model.float(), \
         and convert the student"
    )]
    HalfPrecision { tensor: String, count: usize, dtype: DataType },
    /// A value too large for memory: running the network would kill the process.
    #[error(
        "value \"{value}\"{} has {elements} elements for one image, more than the limit of {limit}; export the network for \
         smaller images, or without that node",
        node.as_ref().map(|node| format!(", computed by node \"{node}\",")).unwrap_or_default()
    )]
    HugeValue { value: String, node: Option<String>, elements: usize, limit: usize },
    /// The network has no droppable block; the text has the reasons.
    #[error("no block of this network can be dropped: {0}")]
    NoDroppableBlock(String),
    /// The model's inputs or outputs are not supported.
    #[error("{0}")]
    ModelInterface(String),
    /// The job names a block that the model does not have.
    #[error("the model has no block named {name:?}{}", nearest.as_ref().map(|n| format!("; did you mean {n:?}?")).unwrap_or_default())]
    UnknownBlock { name: String, nearest: Option<String> },
}

/// Unsupported nodes, grouped by reason.
fn list(unsupported: &[Unsupported]) -> String {
    let mut kinds: Vec<(&Unsupported, Vec<&str>)> = Vec::new();
    for node in unsupported {
        let same = |(first, _): &&mut (&Unsupported, Vec<&str>)| {
            (&first.op, &first.domain, &first.reason, &first.hint) == (&node.op, &node.domain, &node.reason, &node.hint)
        };
        match kinds.iter_mut().find(same) {
            Some((_, nodes)) => nodes.push(&node.node),
            None => kinds.push((node, vec![&node.node])),
        }
    }
    let told = kinds.iter().map(|(Unsupported { op, reason, hint, .. }, nodes)| {
        let way_out = if hint.is_empty() { String::new() } else { format!(" ({hint})") };
        format!("{op}, {reason}{way_out}: {}", nodes.join(", "))
    });
    told.collect::<Vec<_>>().join("; ")
}

impl NetworkError {
    /// Whether the input or this service caused the error.
    pub fn origin(&self) -> Origin {
        match self {
            Self::Images(error) if !error.is_input() => Origin::Internal,
            Self::Several(errors) => errors.first().map_or(Origin::Internal, Self::origin),
            _ => Origin::Input,
        }
    }

    /// The single errors for problem documents, each with its place in the graph or the body and its fix. Empty if there is
    /// only one, without a place.
    pub fn faults(&self) -> Vec<Fault> {
        match self {
            Self::Graph(error) => error.problems.iter().map(fault_of_graph).collect(),
            Self::Unsupported(nodes) => nodes.iter().map(fault_of_node).collect(),
            Self::Images(ImageError::Preprocess(faults)) => faults.iter().map(PreprocessFault::to_problem).collect(),
            Self::Several(errors) => errors.iter().flat_map(Self::faults_or_self).collect(),
            _ => Vec::new(),
        }
    }

    fn faults_or_self(&self) -> Vec<Fault> {
        let faults = self.faults();
        if faults.is_empty() { vec![Fault { detail: self.to_string(), ..Fault::default() }] } else { faults }
    }

    /// `Ok` without errors; a single error as itself.
    pub fn check(mut faults: Vec<Self>) -> Result<(), Self> {
        match faults.len() {
            0 => Ok(()),
            1 => Err(faults.remove(0)),
            _ => Err(Self::Several(faults)),
        }
    }

    /// The kind of problem that it is.
    pub fn code(&self) -> Code {
        match self {
            Self::Onnx(error) => error.code(),
            Self::Graph(_) => Code::ModelInvalid,
            Self::Images(error) => error.code(),
            Self::Several(errors) => errors.first().map_or(Code::Internal, Self::code),
            Self::Unsupported(nodes) if nodes.iter().all(Unsupported::is_control_flow) => Code::ControlFlowUnsupported,
            Self::Unsupported(_) => Code::OperatorsUnsupported,
            Self::HalfPrecision { .. } => Code::TensorUnsupported,
            Self::HugeValue { .. } => Code::ModelTooComplex,
            Self::NoDroppableBlock(_) => Code::NoDroppableBlock,
            Self::ModelInterface(_) => Code::ModelInterfaceUnsupported,
            Self::UnknownBlock { .. } => Code::UnknownBlock,
        }
    }
}

/// A text, unless it is empty.
fn text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn fault_of_graph(problem: &GraphFault) -> Fault {
    let GraphFault { node, op, detail, hint } = problem;
    Fault { node: text(node), op: text(op), detail: detail.clone(), hint: text(hint), ..Fault::default() }
}

/// An operator that the executor does not have.
pub(crate) fn fault_of_node(unsupported: &Unsupported) -> Fault {
    let Unsupported { node, op, domain: _, reason, hint } = unsupported;
    Fault { node: text(node), op: text(op), detail: reason.clone(), hint: text(hint), ..Fault::default() }
}
