//! The boundary error of the method.

use crate::exec::ExecError;
use crate::exec::memory::{self, Trouble};
use crate::graph::GraphError;
use crate::images::ImageError;
use crate::latency::LatencyError;
use crate::network::{NetworkError, Origin, fault_of_node};
use crate::onnx::OnnxError;
use crate::onnxruntime::OnnxRuntimeError;
use crate::problem::{Code, Fault};

/// Errors of the method.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum CompressError {
    /// The network, its images or its settings are invalid.
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error(transparent)]
    Exec(#[from] ExecError),
    #[error(transparent)]
    Latency(LatencyError),
    #[error(transparent)]
    Runtime(#[from] OnnxRuntimeError),
    /// The exported student differs from the student in memory.
    #[error(
        "the exported student differs from the student in memory by {difference:.2e} of the output's scale (allowed: {allowed:.0e})"
    )]
    ExportDiffers { difference: f64, allowed: f64 },
    /// Merging adapters changed the student's features.
    #[error("merging the adapters changed the features by {difference:.2e} of their scale (allowed: {allowed:.0e})")]
    MergeDiffers { difference: f64, allowed: f64 },
    /// The teacher's outputs for the images are not finite.
    #[error(
        "the network's outputs for these images are not finite; check that the images are preprocessed as the model expects"
    )]
    OutputsNotFinite,
    /// The difference between teacher and student is not finite.
    #[error("the feature loss is not finite; check that the images are preprocessed as the model expects")]
    LossNotFinite,
    /// A refit got no rows to fit on.
    #[error("a refit has no values to fit")]
    NothingToFit,
    /// A measurement has too few samples for a figure.
    #[error("too few latency samples of {0}")]
    TooFewSamples(String),
    /// The report cannot be written.
    #[error("the report cannot be written as JSON: {0}")]
    Report(#[from] serde_json::Error),
    /// A recovered student whose answers carry nothing of the teacher's.
    #[error(
        "without {dropped}, output \"{output}\" of the recovered student is no better than a constant: its error is {share:.2} \
         times that of the best constant answer; drop fewer blocks, and check that the images are preprocessed as the model \
         expects"
    )]
    NoBetterThanConstant { output: String, share: f64, dropped: String },
    /// The observer cancelled the job.
    #[error("cancelled")]
    Cancelled,
    /// The device is out of memory.
    #[error("out of memory: {0}")]
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

/// The result of an attempt, or `None` if the network does not support it; a failure of the device is an error.
///
/// # Errors
/// Errors of the device.
pub(super) fn taken<T>(tried: Result<T, CompressError>) -> Result<Option<T>, CompressError> {
    match tried {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.trouble().is_some() => Err(error),
        Err(_) => Ok(None),
    }
}

impl CompressError {
    /// Whether the input or this service is at fault.
    pub fn origin(&self) -> Origin {
        match self {
            Self::Network(error) => error.origin(),
            Self::OutputsNotFinite | Self::LossNotFinite | Self::NoBetterThanConstant { .. } => Origin::Input,
            Self::Exec(_)
            | Self::Latency(_)
            | Self::Runtime(_)
            | Self::ExportDiffers { .. }
            | Self::MergeDiffers { .. }
            | Self::NothingToFit
            | Self::TooFewSamples(_)
            | Self::Report(_)
            | Self::Cancelled
            | Self::Tensor(_)
            | Self::OutOfMemory(_) => Origin::Internal,
        }
    }

    /// The trouble of the device, if that is what failed.
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

    /// The single faults behind this error, each with its place and its fix, for problem documents. Empty if the error is one fault
    /// without a place.
    pub fn faults(&self) -> Vec<Fault> {
        match self {
            Self::Network(error) => error.faults(),
            Self::Exec(ExecError::Unsupported(nodes)) => nodes.iter().map(fault_of_node).collect(),
            _ => Vec::new(),
        }
    }

    /// The kind of problem that it is.
    pub fn code(&self) -> Code {
        match self {
            Self::Network(error) => error.code(),
            Self::Exec(_) => Code::ExecutionFailed,
            Self::Latency(_) | Self::TooFewSamples(_) => Code::MeasurementFailed,
            Self::Runtime(_) => Code::OnnxruntimeFailed,
            Self::ExportDiffers { .. } => Code::ExportDiffers,
            Self::MergeDiffers { .. } => Code::MergeDiffers,
            Self::OutputsNotFinite | Self::LossNotFinite => Code::NotFinite,
            Self::NoBetterThanConstant { .. } => Code::NoBetterThanConstant,
            // A cancelled job has no error.
            Self::Cancelled | Self::NothingToFit | Self::Report(_) | Self::Tensor(_) | Self::OutOfMemory(_) => {
                Code::Internal
            }
        }
    }
}
