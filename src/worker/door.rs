//! The check of a worker before it registers: its device computes, and ONNX Runtime runs a network. A worker without them would
//! fail every task that it takes, and faster than any other worker does one.

use std::time::Duration;

use crate::exec::{self, Device, ExecError};
use crate::onnxruntime;
use crate::onnxruntime::OnnxRuntimeError;

/// How long it may take: a GPU that hangs is as good as none. Loading CUDA takes seconds, on a busy host many of them.
const PATIENCE: Duration = Duration::from_secs(180);

/// Exit code of a worker that cannot compute, which its supervisor distinguishes from a crash.
pub const CANNOT_COMPUTE: u8 = 3;

/// Why a worker cannot compute, with the fix.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// The device does not open, fails, or computes something else.
    #[error(transparent)]
    Device(#[from] ExecError),
    /// Latency cannot be measured, nor an export be checked.
    #[error(transparent)]
    Runtime(#[from] OnnxRuntimeError),
    /// A panic on the way.
    #[error("{device} cannot be used: {panic}")]
    Panicked {
        /// The device that was tried.
        device: Device,
        /// Message of the panic.
        panic: tokio::task::JoinError,
    },
    /// No answer.
    #[error("{device} cannot be used: it returned no result within {} s; check the host's load, and a GPU with `nvidia-smi`", PATIENCE.as_secs())]
    Hangs {
        /// The device that was tried.
        device: Device,
    },
}

/// Opens the device and computes on it, and runs a network in ONNX Runtime.
///
/// # Errors
/// As [`DoorError`].
pub(super) async fn prove(device: Device) -> Result<(), DoorError> {
    let proof = tokio::task::spawn_blocking(move || {
        exec::prove(device)?;
        Ok(onnxruntime::prove()?)
    });
    match tokio::time::timeout(PATIENCE, proof).await {
        Ok(proved) => proved.unwrap_or_else(|panic| Err(DoorError::Panicked { device, panic })),
        Err(_) => Err(DoorError::Hangs { device }),
    }
}
