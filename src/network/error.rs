//! What a customer's network, and what comes with it, can be at fault for.

use serde_json::json;

use crate::exec::Unsupported;
use crate::graph::{DataType, GraphError};
use crate::images::ImageError;
use crate::onnx::OnnxError;

/// Who has to act on a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The input: trying again with the same input fails again.
    Input,
    /// This service: trying again may succeed.
    Internal,
}

/// What is wrong with a network.
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
    /// Several faults at once, the first of which gives the code.
    #[error("{}", .0.iter().map(Self::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<NetworkError>),
    /// Weights in 16 bits: training them needs 32, and so does whoever wants to know what dropping blocks alone has done.
    #[error(
        "{count} tensors, such as `{tensor}`, are {dtype:?}; networks in float32 are supported: export with model.float(), \
         and convert the student"
    )]
    HalfPrecision { tensor: String, count: usize, dtype: DataType },
    /// A value that no memory holds: to run the network would end the process.
    #[error(
        "value \"{value}\"{} has {elements} elements for one image, more than the limit of {limit}; export the network for smaller \
         images, or without what makes it",
        node.as_ref().map(|node| format!(", which node \"{node}\" makes,")).unwrap_or_default()
    )]
    HugeValue { value: String, node: Option<String>, elements: usize, limit: usize },
    /// The network has no block that could be dropped; the text says what was looked at.
    #[error("no block of this network can be dropped: {0}")]
    NoDroppableBlock(String),
    /// The model's inputs or outputs do not fit the service.
    #[error("{0}")]
    ModelInterface(String),
    /// The job names a block that the model does not have.
    #[error("the model has no block named {name:?}{}", nearest.as_ref().map(|n| format!("; did you mean {n:?}?")).unwrap_or_default())]
    UnknownBlock { name: String, nearest: Option<String> },
}

/// The nodes by what is wrong with them, which is said once.
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
    /// Whether the input or this service is at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Images(error) if !error.is_input() => Fault::Internal,
            Self::Several(errors) => errors.first().map_or(Fault::Internal, Self::fault),
            _ => Fault::Input,
        }
    }

    /// The single faults behind this error, each with its place in the graph and the way out, for problem documents.
    pub fn parts(&self) -> Vec<serde_json::Value> {
        match self {
            Self::Graph(error) => error.problems.iter().map(|problem| json!(problem)).collect(),
            Self::Unsupported(list) => list.iter().map(|node| json!(node)).collect(),
            Self::Images(ImageError::Preprocess(faults)) => faults
                .iter()
                .map(|f| json!({"pointer": format!("/preprocess/{}", f.field), "detail": f.detail, "hint": f.hint}))
                .collect(),
            Self::Several(errors) => errors.iter().flat_map(Self::parts_or_self).collect(),
            _ => Vec::new(),
        }
    }

    fn parts_or_self(&self) -> Vec<serde_json::Value> {
        let parts = self.parts();
        if parts.is_empty() { vec![json!({"detail": self.to_string()})] } else { parts }
    }

    /// `Ok` where nothing is wrong; one fault alone as itself.
    pub fn check(mut faults: Vec<Self>) -> Result<(), Self> {
        match faults.len() {
            0 => Ok(()),
            1 => Err(faults.remove(0)),
            _ => Err(Self::Several(faults)),
        }
    }

    /// Stable code of the error, as in problem documents.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Onnx(error) => error.code(),
            Self::Graph(_) => "model_invalid",
            Self::Images(error) => error.code(),
            Self::Several(errors) => errors.first().map_or("internal", Self::code),
            Self::Unsupported(nodes) if nodes.iter().all(Unsupported::is_control_flow) => "control_flow_unsupported",
            Self::Unsupported(_) => "operators_unsupported",
            Self::HalfPrecision { .. } => "tensor_unsupported",
            Self::HugeValue { .. } => "model_too_complex",
            Self::NoDroppableBlock(_) => "no_droppable_block",
            Self::ModelInterface(_) => "model_interface_unsupported",
            Self::UnknownBlock { .. } => "unknown_block",
        }
    }
}
