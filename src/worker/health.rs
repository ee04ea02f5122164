//! Health of a worker: if consecutive tasks fail on it, it claims less often and is reported as unhealthy.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::door;
use crate::db::{Db, DbError, workers};
use crate::exec::Device;
use crate::ids::WorkerId;
use crate::queue::UNHEALTHY_AFTER;

/// Pause after the first failed task; doubled for each further one in a row. A worker that fails fast would otherwise be the first to
/// claim, always.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Longest pause. A worker that found nothing to do for as long and passes the door again is well: with no task to succeed at, it would
/// be unhealthy for ever.
const LONGEST_PAUSE: Duration = Duration::from_secs(10 * 60);

/// What the result of a task means for the health of its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// The task was done.
    Good,
    /// It ended for a reason outside of the worker: the input, the customer, the database, a stop.
    None,
    /// It failed here; the reason may be shown to customers.
    Bad(&'static str),
}

/// Tasks that failed in a row on a worker's slot.
#[derive(Debug)]
pub(super) struct Health {
    id: WorkerId,
    device: Device,
    failures: i32,
    since: Instant,
    rested: bool,
}

impl Health {
    /// Of a worker whose slot has that many failures behind it.
    pub(super) fn new(id: WorkerId, device: Device, failures: i32) -> Self {
        Self { id, device, failures, since: Instant::now(), rested: false }
    }

    /// Records the result of a task. A database error is only logged.
    pub(super) async fn note(&mut self, db: &Db, sign: Sign) {
        let noted = match sign {
            Sign::None => return,
            Sign::Good if self.failures == 0 => return,
            Sign::Good => self.heal(db).await,
            Sign::Bad(reason) => self.fail(db, reason).await,
        };
        if let Err(error) = noted {
            tracing::warn!("this worker's health could not be stored: {error}");
        }
    }

    /// Waits before the next claim, once after each failure.
    pub(super) async fn rest(&mut self, stop: &CancellationToken) {
        if self.failures == 0 || std::mem::replace(&mut self.rested, true) {
            return;
        }
        let pause = pause_after(self.failures);
        if self.failures >= UNHEALTHY_AFTER {
            tracing::warn!(
                device = %self.device, failures = self.failures, seconds = pause.as_secs(),
                "unhealthy: consecutive tasks failed; claiming no tasks for a while"
            );
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    }

    /// There was nothing to claim: a worker that waited long enough for a task to succeed at, and passes the door, is well.
    pub(super) async fn idle(&mut self, db: &Db) {
        if self.failures < UNHEALTHY_AFTER || self.since.elapsed() < LONGEST_PAUSE {
            return;
        }
        self.since = Instant::now();
        match door::prove(self.device).await {
            Ok(()) => self.note(db, Sign::Good).await,
            Err(error) => tracing::error!("still unhealthy: {error}"),
        }
    }

    async fn heal(&mut self, db: &Db) -> Result<(), DbError> {
        workers::healed(&mut *db.connection().await?, self.id).await?;
        tracing::info!(device = %self.device, "healthy again");
        self.failures = 0;
        Ok(())
    }

    async fn fail(&mut self, db: &Db, reason: &str) -> Result<(), DbError> {
        // Counted here too, so that a database that is away does not take the pause away.
        (self.failures, self.rested, self.since) = (self.failures.saturating_add(1), false, Instant::now());
        self.failures = workers::failed(&mut *db.connection().await?, self.id, reason, UNHEALTHY_AFTER).await?;
        Ok(())
    }
}

fn pause_after(failures: i32) -> Duration {
    (FIRST_PAUSE * (1 << (failures - 1).clamp(0, 16))).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_in_a_row_doubles_the_pause() {
        assert_eq!(
            [1, 2, 3, 4, 9, 10, 11, 1000].map(|failures| pause_after(failures).as_secs()),
            [1, 2, 4, 8, 256, 512, 600, 600]
        );
    }
}
