//! The boundary error of the method.

use serde_json::json;

use crate::exec::ExecError;
use crate::exec::memory::{self, Trouble};
use crate::graph::GraphError;
use crate::images::ImageError;
use crate::latency::LatencyError;
use crate::network::{Fault, NetworkError};
use crate::onnx::OnnxError;
use crate::onnxruntime::OnnxRuntimeError;

/// What can go wrong between a network with images and its student.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum CompressError {
    /// The network, or what comes with it, is at fault.
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error(transparent)]
    Exec(#[from] ExecError),
    #[error(transparent)]
    Latency(LatencyError),
    #[error(transparent)]
    Runtime(#[from] OnnxRuntimeError),
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

impl From<OnnxError> for CompressError {
    fn from(error: OnnxError) -> Self {
        Self::Network(error.into())
    }
}

impl From<GraphError> for CompressError {
    fn from(error: GraphError) -> Self {
        Self::Network(error.into())
    }
}

impl From<ImageError> for CompressError {
    fn from(error: ImageError) -> Self {
        Self::Network(error.into())
    }
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

impl CompressError {
    /// Whether the input or this service is at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Network(error) => error.fault(),
            Self::NotFinite(_) | Self::NoBetterThanConstant { .. } => Fault::Input,
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
            Self::Network(error) => error.parts(),
            Self::Exec(ExecError::Unsupported(list)) => list.iter().map(|node| json!(node)).collect(),
            _ => Vec::new(),
        }
    }

    /// Stable code of the error, as in problem documents.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Network(error) => error.code(),
            Self::Exec(_) => "execution_failed",
            Self::Latency(_) => "measurement_failed",
            Self::Runtime(_) => "onnxruntime_failed",
            Self::ExportDiffers { .. } => "export_differs",
            Self::MergeDiffers { .. } => "merge_differs",
            Self::NotFinite(_) => "not_finite",
            Self::NoBetterThanConstant { .. } => "no_better_than_constant",
            Self::Cancelled => "cancelled",
            Self::Tensor(_) | Self::OutOfMemory(_) => "internal",
        }
    }
}
