//! The boundary error of the method.

use serde_json::json;

use crate::exec::memory::{self, Trouble};
use crate::exec::{ExecError, Unsupported};
use crate::graph::{DataType, GraphError};
use crate::images::ImageError;
use crate::onnx::OnnxError;

use crate::latency::LatencyError;
use crate::onnxruntime::OnnxRuntimeError;

/// Who has to act on a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The input: trying again with the same input fails again.
    Input,
    /// This service: trying again may succeed.
    Internal,
}

/// What can go wrong between a network with images and its student.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum CompressError {
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    Exec(#[from] ExecError),
    #[error(transparent)]
    Images(#[from] ImageError),
    #[error(transparent)]
    Latency(LatencyError),
    #[error(transparent)]
    Runtime(#[from] OnnxRuntimeError),
    /// Operators or attributes that the executor does not have, all of them.
    #[error("{} of the model's operators are not supported: {}", .0.len(), list(.0))]
    Unsupported(Vec<Unsupported>),
    /// Several faults at once, the first of which gives the code.
    #[error("{}", .0.iter().map(Self::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<CompressError>),
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
    /// An exported student does not compute what the student in memory computes.
    #[error(
        "the exported student differs from the student in memory by {difference:.2e} of the output's scale (allowed: {allowed:.0e})"
    )]
    ExportDiffers { difference: f64, allowed: f64 },
    /// Merging adapters changed what the student computes.
    #[error("merging the adapters changed the features by {difference:.2e} of their scale (allowed: {allowed:.0e})")]
    MergeDiffers { difference: f64, allowed: f64 },
    /// The fine-tuning or a measurement met a number that is not finite.
    #[error("{0} is not finite; are the images preprocessed as the model expects?")]
    NotFinite(String),
    /// A recovered student whose answers carry nothing of the teacher's.
    #[error(
        "without {dropped}, output \"{output}\" of the recovered student is no better than always saying the same: its error is \
         {share:.2} times that of the best constant answer; drop fewer blocks, and check that the images are preprocessed as the model \
         expects"
    )]
    NoBetterThanConstant { output: String, share: f64, dropped: String },
    /// The observer asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// The device has no room for what was asked for.
    #[error("memory ran out: {0}")]
    OutOfMemory(String),
    /// A tensor operation failed in a way that no input should cause.
    #[error("{0}")]
    Tensor(#[from] tch::TchError),
}

impl From<LatencyError> for CompressError {
    fn from(error: LatencyError) -> Self {
        match error {
            LatencyError::Cancelled => Self::Cancelled,
            error => Self::Latency(error),
        }
    }
}

/// What was tried, or `None` where the network does not take it; a device that fails says nothing about the network.
///
/// # Errors
/// Those that say what is wrong with the device.
pub(super) fn taken<T>(tried: Result<T, CompressError>) -> Result<Option<T>, CompressError> {
    match tried {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.trouble().is_some() => Err(error),
        Err(_) => Ok(None),
    }
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

impl CompressError {
    /// Whether the input or this service is at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Images(error) if !error.is_input() => Fault::Internal,
            Self::Several(errors) => errors.first().map_or(Fault::Internal, Self::fault),
            Self::Onnx(_) | Self::Graph(_) | Self::Images(_) | Self::Unsupported(_) | Self::NoDroppableBlock(_) => {
                Fault::Input
            }
            Self::ModelInterface(_) | Self::UnknownBlock { .. } | Self::NotFinite(_) => Fault::Input,
            Self::NoBetterThanConstant { .. } => Fault::Input,
            Self::HalfPrecision { .. } | Self::HugeValue { .. } => Fault::Input,
            Self::Exec(_)
            | Self::Latency(_)
            | Self::Runtime(_)
            | Self::ExportDiffers { .. }
            | Self::MergeDiffers { .. } => Fault::Internal,
            Self::Cancelled | Self::Tensor(_) | Self::OutOfMemory(_) => Fault::Internal,
        }
    }

    /// What is wrong with the device, where that is what failed.
    pub fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::OutOfMemory(_) => Some(Trouble::OutOfMemory),
            Self::Exec(ExecError::Device { .. })
            | Self::Latency(LatencyError::Engine { .. } | LatencyError::Start { .. })
            | Self::Runtime(OnnxRuntimeError::NoLibrary { .. } | OnnxRuntimeError::Library { .. }) => {
                Some(Trouble::Unusable)
            }
            Self::Exec(_) | Self::Tensor(_) => memory::trouble(&self.to_string()),
            _ => None,
        }
    }

    /// The single faults behind this error, each with its place in the graph and the way out, for problem documents.
    pub fn parts(&self) -> Vec<serde_json::Value> {
        match self {
            Self::Graph(error) => error.problems.iter().map(|problem| json!(problem)).collect(),
            Self::Unsupported(list) | Self::Exec(ExecError::Unsupported(list)) => {
                list.iter().map(|node| json!(node)).collect()
            }
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
            Self::Exec(_) => "execution_failed",
            Self::Images(error) => error.code(),
            Self::Latency(_) => "measurement_failed",
            Self::Runtime(_) => "onnxruntime_failed",
            Self::Several(errors) => errors.first().map_or("internal", Self::code),
            Self::Unsupported(nodes) if nodes.iter().all(Unsupported::is_control_flow) => "control_flow_unsupported",
            Self::Unsupported(_) => "operators_unsupported",
            Self::HalfPrecision { .. } => "tensor_unsupported",
            Self::HugeValue { .. } => "model_too_complex",
            Self::NoDroppableBlock(_) => "no_droppable_block",
            Self::ModelInterface(_) => "model_interface_unsupported",
            Self::UnknownBlock { .. } => "unknown_block",
            Self::ExportDiffers { .. } => "export_differs",
            Self::MergeDiffers { .. } => "merge_differs",
            Self::NotFinite(_) => "not_finite",
            Self::NoBetterThanConstant { .. } => "no_better_than_constant",
            Self::Cancelled => "cancelled",
            Self::Tensor(_) | Self::OutOfMemory(_) => "internal",
        }
    }
}
