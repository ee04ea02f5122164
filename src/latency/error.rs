//! What can go wrong while measuring.

use std::io;
use std::path::PathBuf;

/// Why there is no measurement.
#[derive(Debug, thiserror::Error)]
pub enum LatencyError {
    /// A network cannot be opened or run by the engine.
    #[error("{label} cannot be run in {engine}: {detail}")]
    Model {
        /// Which network.
        label: String,
        /// Which engine.
        engine: &'static str,
        /// What the engine says.
        detail: String,
    },
    /// The engine itself is missing or broken.
    #[error("{engine} cannot be used: {detail}")]
    Engine {
        /// Which engine.
        engine: &'static str,
        /// Why not.
        detail: String,
    },
    /// The plan or the list of networks makes no sense.
    #[error("{0}")]
    Request(String),
    /// The measuring process could not be started.
    #[error("the measuring process {program} could not be started: {source}")]
    Start {
        /// The program.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The measuring process ended without an answer.
    #[error("the measuring process ended without an answer ({status}){said}")]
    Died {
        /// Its exit status.
        status: String,
        /// The end of its standard error, with a colon in front, or nothing.
        said: String,
    },
    /// A round took longer than it may.
    #[error("measuring took longer than {seconds} s; use a smaller batch, or fewer runs")]
    Timeout {
        /// The limit.
        seconds: f64,
    },
    /// The caller asked to stop.
    #[error("measuring was cancelled")]
    Cancelled,
    /// A temporary file or a lock file failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl LatencyError {
    /// True where the networks or the request are at fault, false where we are.
    pub fn is_input(&self) -> bool {
        matches!(self, Self::Model { .. } | Self::Request(_) | Self::Timeout { .. })
    }

    pub(super) fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }
}
