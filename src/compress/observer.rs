//! How a running job is watched, kept and stopped.

use super::CompressError;
use crate::spec::phase::Phase;

/// Receives progress, events and checkpoints of a job and can stop it; called from the computing thread, so it must be quick.
pub trait Observer: Send + Sync {
    /// `done` of `total` steps of a phase are finished.
    fn progress(&self, phase: Phase, done: u64, total: u64);

    /// Something worth keeping happened.
    fn event(&self, kind: &str, detail: serde_json::Value);

    /// True if a checkpoint of a long step is due.
    fn wants_checkpoint(&self) -> bool {
        false
    }

    /// Stores a checkpoint for a later attempt; it replaces the previous one.
    fn checkpoint(&self, _bytes: Vec<u8>) {}

    /// The last checkpoint, of this attempt or an earlier one.
    fn kept(&self) -> Option<Vec<u8>> {
        None
    }

    /// True once the job should stop as soon as it can.
    fn cancelled(&self) -> bool;

    /// An error once the job should stop.
    fn check(&self) -> Result<(), CompressError> {
        if self.cancelled() { Err(CompressError::Cancelled) } else { Ok(()) }
    }
}

/// Watches nothing and never stops.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn progress(&self, _phase: Phase, _done: u64, _total: u64) {}

    fn event(&self, _kind: &str, _detail: serde_json::Value) {}

    fn cancelled(&self) -> bool {
        false
    }
}
