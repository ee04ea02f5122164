//! Starts worker processes, starts them again when they die, and ends them.

use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::door::CANNOT_COMPUTE;
use super::slots::Slot;
use crate::children::{self, Child};
use crate::db::{Db, tasks};
use crate::exec;
use crate::ids::WorkerId;
use crate::queue::rescue;
use crate::shutdown;

/// How long a worker may take to give its task back and end.
const PATIENCE: Duration = Duration::from_secs(20);

const _: () = assert!(PATIENCE.as_secs() < shutdown::GRACE.as_secs());

/// Wait before the first restart; doubled for each death in a row. A device that fails at whatever it is asked for would otherwise use
/// up the attempts of every task there is.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// Longest wait before a restart.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A worker that lived this long did not die of how it was started; nor did one that has done a task.
const HEALTHY: Duration = Duration::from_secs(60);

/// How worker processes are started.
#[derive(Debug, Clone)]
pub struct Supervisor {
    /// This program.
    pub program: PathBuf,
    /// Database URL for the workers.
    pub database_url: String,
    /// For letting the leases of a dead worker run out.
    pub db: Db,
}

impl Supervisor {
    /// Keeps a worker running in every slot until `stop`, then ends them all; returns when none is left.
    pub async fn run(self, slots: Vec<Slot>, stop: CancellationToken) {
        let mut running = JoinSet::new();
        for slot in slots {
            running.spawn(self.clone().keep(slot, stop.clone()));
        }
        while running.join_next().await.is_some() {}
    }

    async fn keep(self, slot: Slot, stop: CancellationToken) {
        let mut wait = FIRST_WAIT;
        // Names the slot, so that a process inherits the history of earlier ones.
        let place = WorkerId::new();
        while !stop.is_cancelled() {
            let started = Instant::now();
            let id = WorkerId::new();
            match children::spawn(self.command(slot, place, id), Signal::SIGKILL).await {
                Ok(mut child) => {
                    let status = tokio::select! {
                        status = child.wait() => status,
                        () = stop.cancelled() => return self.end(id, child).await,
                    };
                    self.died(id, &child).await;
                    let well = started.elapsed() >= HEALTHY && !cannot_compute(status) || self.has_worked(id).await;
                    wait = if well { FIRST_WAIT } else { wait };
                    tell_death(slot, id, &child, status, wait);
                }
                Err(error) => {
                    tracing::error!(device = %slot.device, "a worker cannot be started; next attempt in {wait:?}: {error}")
                }
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(LONGEST_WAIT),
                () = stop.cancelled() => return,
            }
        }
    }

    fn command(&self, slot: Slot, place: WorkerId, id: WorkerId) -> Command {
        let mut command = Command::new(&self.program);
        exec::compute_in(&mut command);
        command.arg("worker").args(["--device", &slot.device.to_string(), "--threads", &slot.threads.to_string()]);
        command.args(["--id", &id.to_string(), "--slot", &place.to_string()]);
        // Not as an argument: everybody on the host can read those, and the URL may hold a password.
        command.env("DATABASE_URL", &self.database_url);
        command.stdin(std::process::Stdio::null());
        command
    }

    /// True if a worker has done a task.
    async fn has_worked(&self, id: WorkerId) -> bool {
        let asked = async { tasks::any_done_by(&mut *self.db.connection().await?, id).await };
        asked.await.unwrap_or(false)
    }

    /// A worker ended unexpectedly: its leases are released at once, because its process is known to be dead.
    async fn died(&self, id: WorkerId, child: &Child) {
        child.kill_group();
        if let Err(error) = rescue::worker_died(&self.db, id).await {
            tracing::warn!("its leases run out by themselves: {error}");
        }
    }

    async fn end(&self, id: WorkerId, mut child: Child) {
        child.signal(Signal::SIGTERM);
        if tokio::time::timeout(PATIENCE, child.wait()).await.is_err() {
            tracing::warn!(worker = %id, "a worker does not end; killing it");
            child.kill_group();
            child.wait().await;
            if let Err(error) = rescue::worker_died(&self.db, id).await {
                tracing::warn!("its leases run out by themselves: {error}");
            }
        }
        // Whatever the worker had started itself.
        child.kill_group();
    }
}

/// True of a worker that was turned away at the door: waiting long for that is no sign of life.
fn cannot_compute(status: Option<ExitStatus>) -> bool {
    status.and_then(|status| status.code()) == Some(i32::from(CANNOT_COMPUTE))
}

fn tell_death(slot: Slot, id: WorkerId, child: &Child, status: Option<ExitStatus>, wait: Duration) {
    let (device, pid) = (slot.device, child.pid().as_raw());
    if cannot_compute(status) {
        return tracing::error!(
            worker = %id, %device, pid,
            "a worker cannot compute (see above) and takes no tasks; next attempt in {wait:?}"
        );
    }
    let status = status.map_or_else(|| "unknown".to_owned(), |status| status.to_string());
    tracing::error!(worker = %id, %device, pid, %status, "a worker died; starting another in {wait:?}");
}
