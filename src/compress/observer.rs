//! How a running job is watched, kept and stopped.

use super::CompressError;
use crate::spec::phase::Phase;

/// Watches a job, keeps where it stands and may stop it; called from the thread that computes, so it must be quick.
pub trait Observer: Send + Sync {
    /// `done` of `total` steps of a phase are finished.
    fn progress(&self, phase: Phase, done: u64, total: u64);

    /// Something worth keeping happened.
    fn event(&self, kind: &str, detail: serde_json::Value);

    /// True where it is time to keep where a long step stands.
    fn wants_checkpoint(&self) -> bool {
        false
    }

    /// Where a long step stands, for a later attempt at it: takes the place of what was kept before.
    fn checkpoint(&self, _bytes: Vec<u8>) {}

    /// What was kept last, by this attempt or an earlier one.
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
