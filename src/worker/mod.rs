//! A worker process: bound to one device, one task at a time.
//!
//! [`run`] passes the [`door`], then claims, as often as its [`health`] allows; [`task`] runs what was claimed, computing on a thread of its own while [`heartbeat`] keeps the lease and
//! stores progress and reports requests to stop. `tasks` has one file for each kind of task. [`supervisor`] is the other
//! side: it starts worker processes and starts them again when they die.

pub mod door;
mod health;
mod heartbeat;
pub mod slots;
pub mod supervisor;
mod task;
mod tasks;
mod watch;

use std::time::Duration;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use crate::db::{Db, DbError, workers};
use crate::exec::Device;
use crate::ids::WorkerId;
use crate::latency::Probe;
use crate::queue::claim::claim;
use crate::queue::listen::{WakeUps, listen};
use crate::queue::{HEARTBEAT, POLL, rescue};

use self::health::Health;
use self::task::After;

/// Settings of a worker process.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Its name in the registry and on its leases.
    pub id: WorkerId,
    /// Its slot, which it takes over from earlier processes; a new one without a supervisor.
    pub slot: Option<WorkerId>,
    /// URL of the queue's database.
    pub database_url: String,
    /// Device that it computes on.
    pub device: Device,
    /// CPU threads for computing.
    pub threads: usize,
    /// How latency children are started.
    pub probe: Probe,
    /// Interval between two checkpoints of fine-tuning.
    pub keep_every: Duration,
}

/// State that the parts of a worker share.
pub(crate) struct Worker {
    pub(crate) db: Db,
    pub(crate) device: Device,
    pub(crate) probe: Probe,
    pub(crate) keep_every: Duration,
    pub(crate) wake_ups: WakeUps,
    pub(crate) stop: CancellationToken,
}

/// Claims and runs tasks until `stop`; then gives back what it has not finished.
///
/// # Errors
/// [`door::DoorError`] where it cannot compute: then it does not register. Else where the database's schema is not ours, the worker
/// cannot register, or its device fails.
pub async fn run(config: WorkerConfig, stop: CancellationToken) -> anyhow::Result<()> {
    crate::exec::set_threads(config.threads);
    tokio::select! {
        proved = door::prove(config.device) => proved?,
        () = stop.cancelled() => return Ok(()),
    }
    let Some(db) = connect(&config.database_url, &stop).await? else { return Ok(()) };
    let failures = register(&db, &config)
        .await
        .context("this worker cannot register; run `practised migrate` on this database")?;
    let wake_ups = listen(db.clone(), stop.clone());
    let keeping = tokio::spawn(keep_house(db.clone(), config.id, stop.clone()));
    let mut worker =
        Worker { db, device: config.device, probe: config.probe, keep_every: config.keep_every, wake_ups, stop };
    tracing::info!(worker = %config.id, device = %config.device, threads = config.threads, "worker is ready");
    let health = Health::new(config.id, config.device, failures);
    let worked = work(&mut worker, config.id, health).await;
    keeping.abort();
    if let Ok(mut conn) = worker.db.connection().await {
        // This only informs people: an error here changes nothing.
        let _ = workers::stopped(&mut conn, config.id).await;
    }
    worker.db.close().await;
    worked
}

/// Runs until it is stopped; an error if it cannot continue.
async fn work(worker: &mut Worker, id: WorkerId, mut health: Health) -> anyhow::Result<()> {
    let mut bench = None;
    loop {
        health.rest(&worker.stop).await;
        if worker.stop.is_cancelled() {
            return Ok(());
        }
        match claim(&worker.db, id).await {
            Ok(Some(claim)) => {
                let After { bench: kept, sign, gone } = task::run(worker, &claim, bench.take()).await;
                health.note(&worker.db, sign).await;
                if gone {
                    anyhow::bail!(
                        "{} failed and cannot be used by this process any more: start another worker",
                        worker.device
                    );
                }
                bench = kept;
            }
            Ok(None) => {
                health.idle(&worker.db).await;
                wait(worker).await;
            }
            Err(error) => {
                tracing::warn!("cannot claim: {error}");
                wait(worker).await;
            }
        }
    }
}

/// Until there may be something to claim.
async fn wait(worker: &Worker) {
    tokio::select! {
        () = worker.wake_ups.tasks.notified() => {}
        () = tokio::time::sleep(POLL) => {}
        () = worker.stop.cancelled() => {}
    }
}

/// Connects, and waits while the database does not answer. `None` if `stop` came first.
async fn connect(url: &str, stop: &CancellationToken) -> anyhow::Result<Option<Db>> {
    loop {
        match Db::connect(url, 6).await {
            Ok(db) => return Ok(Some(db)),
            Err(DbError::Unavailable(reason)) => {
                tracing::warn!("waiting for the database: {reason}");
                tokio::select! {
                    () = tokio::time::sleep(POLL) => {}
                    () = stop.cancelled() => return Ok(None),
                }
            }
            Err(error) => return Err(error).context("the database URL cannot be used"),
        }
    }
}

/// How many tasks in a row have failed on its slot before.
async fn register(db: &Db, config: &WorkerConfig) -> anyhow::Result<i32> {
    let host = nix::unistd::gethostname()?.to_string_lossy().into_owned();
    let pid = std::process::id().cast_signed();
    let mut conn = db.connection().await?;
    let device = config.device.to_string();
    let name = config.device.name();
    let version = env!("CARGO_PKG_VERSION");
    workers::register(&mut conn, config.id, &host, pid, &device, name.as_deref(), version).await?;
    Ok(match config.slot {
        Some(slot) => workers::take_slot(&mut conn, config.id, slot).await?,
        None => 0,
    })
}

/// Heartbeats of the worker, and the periodic sweep.
async fn keep_house(db: Db, id: WorkerId, stop: CancellationToken) {
    let mut last_seen = Duration::ZERO;
    while !stop.is_cancelled() {
        tokio::time::sleep(POLL).await;
        if let Err(error) = rescue::sweep(&db).await {
            tracing::debug!("cannot sweep: {error}");
        }
        last_seen += POLL;
        if last_seen >= HEARTBEAT {
            last_seen = Duration::ZERO;
            if let Ok(mut conn) = db.connection().await {
                let _ = workers::seen(&mut conn, id).await;
            }
        }
    }
}
