//! Errors of latency measurements.

use std::io;
use std::path::PathBuf;

/// Why there is no measurement.
#[derive(Debug, thiserror::Error)]
pub enum LatencyError {
    /// A network cannot be opened or run by the engine.
    #[error("{label} cannot be run in {engine}: {detail}")]
    Model {
        /// Label of the network.
        label: String,
        /// Name of the engine.
        engine: &'static str,
        /// Message of the engine.
        detail: String,
    },
    /// The engine itself is missing or broken.
    #[error("{engine} cannot be used: {detail}")]
    Engine {
        /// Name of the engine.
        engine: &'static str,
        /// The cause.
        detail: String,
    },
    /// The plan or the list of networks is invalid.
    #[error("{0}")]
    Request(String),
    /// The measuring process could not be started.
    #[error("the measuring process {program} could not be started: {source}")]
    Start {
        /// The program.
        program: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The measuring process ended without a response.
    #[error("the measuring process ended without an answer ({status}){said}")]
    Died {
        /// Its exit status.
        status: String,
        /// The end of its standard error after a colon, or an empty text.
        said: String,
    },
    /// A round exceeded its time limit.
    #[error("measuring took longer than {seconds} s; use a smaller batch, or fewer runs")]
    Timeout {
        /// The limit in seconds.
        seconds: f64,
    },
    /// The caller cancelled the measurement.
    #[error("measuring was cancelled")]
    Cancelled,
    /// A temporary file or a lock file failed.
    #[error("{what}: {source}")]
    Io {
        /// The operation that failed.
        what: String,
        /// The cause.
        source: io::Error,
    },
}

impl LatencyError {
    /// True if the networks or the request caused the error, false if the service did.
    pub fn is_input(&self) -> bool {
        matches!(self, Self::Model { .. } | Self::Request(_) | Self::Timeout { .. })
    }

    pub(super) fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }
}
