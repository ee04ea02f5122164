//! Computes in parallel with other processes on the host, but never during a measurement.

use std::sync::Mutex;

use crate::compress::CompressError;
use crate::compress::observer::Observer;
use crate::latency::{HostLock, Shared};
use crate::spec::phase::Phase;

/// Passes everything on to a job's observer and, whenever the work looks up, lets a waiting measurement go first.
pub(crate) struct YieldingObserver<'a> {
    observer: &'a dyn Observer,
    lock: Mutex<Shared>,
}

impl<'a> YieldingObserver<'a> {
    /// Waits until nothing is being measured on this host.
    pub(crate) fn new(observer: &'a dyn Observer) -> Result<Self, CompressError> {
        let lock = HostLock::of_host().shared(&|| observer.cancelled())?;
        Ok(Self { observer, lock: Mutex::new(lock) })
    }
}

impl Observer for YieldingObserver<'_> {
    fn progress(&self, phase: Phase, done: u64, total: u64) {
        self.observer.progress(phase, done, total);
    }

    fn event(&self, kind: &str, detail: serde_json::Value) {
        self.observer.event(kind, detail);
    }

    fn cancelled(&self) -> bool {
        self.observer.cancelled()
    }

    fn wants_checkpoint(&self) -> bool {
        self.observer.wants_checkpoint()
    }

    fn checkpoint(&self, bytes: Vec<u8>) {
        self.observer.checkpoint(bytes);
    }

    fn kept(&self) -> Option<Vec<u8>> {
        self.observer.kept()
    }

    fn check(&self) -> Result<(), CompressError> {
        self.observer.check()?;
        let mut lock = self.lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        lock.give_way(&|| self.observer.cancelled())?;
        Ok(())
    }
}
