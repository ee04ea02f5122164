//! Keeps a lease while its task computes, off the thread that computes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::watch::{Reason, Watch};
use crate::db::Db;
use crate::ids::JobId;
use crate::queue::claimed::Claim;
use crate::queue::lease::{self, LeaseState};
use crate::queue::{HEARTBEAT, LEASE, POLL, QueueError};

/// How often progress and events are carried to the database.
const FLUSH: Duration = Duration::from_secs(1);

/// Renews the lease every [`HEARTBEAT`], checks whether to stop every [`POLL`] and after each notification of a cancellation,
/// and stores progress and events, until `done` or `stop`. `told` receives the jobs to cancel.
pub(super) async fn keep(
    db: &Db,
    claim: &Claim,
    watch: &Arc<Watch>,
    mut told: broadcast::Receiver<JobId>,
    done: CancellationToken,
    stop: CancellationToken,
) {
    let mut renewed = Instant::now();
    let mut looked = Instant::now();
    let mut carrying = None;
    loop {
        let mut look_now = false;
        tokio::select! {
            () = tokio::time::sleep(FLUSH) => {}
            concerns_us = hear(&mut told, claim.job) => look_now = concerns_us,
            () = stop.cancelled(), if watch.stopped().is_none() => watch.stop(Reason::Stopping),
            () = done.cancelled() => break,
        }
        flush(db, claim, watch).await;
        if let Some(checkpoint) = watch.take_checkpoint() {
            carrying = Some(tokio::spawn(carry(db.clone(), claim.clone(), Arc::clone(watch), checkpoint)));
        }
        let asked = Instant::now();
        let standing = if renewed.elapsed() >= HEARTBEAT {
            lease::renew(db, claim).await.inspect(|_| renewed = asked)
        } else if look_now || looked.elapsed() >= POLL {
            lease::look(db, claim).await
        } else {
            continue;
        };
        looked = Instant::now();
        judge(standing, renewed, watch);
    }
    flush(db, claim, watch).await;
    if watch.stopped() == Some(Reason::Stopping) {
        if let Some(carrying) = carrying.take() {
            let _ = carrying.await;
        }
        if let Some(checkpoint) = watch.take_checkpoint() {
            carry(db.clone(), claim.clone(), Arc::clone(watch), checkpoint).await;
        }
    }
}

/// Stores a checkpoint, separately from the heartbeat because it can be large. One that comes too late changes nothing.
async fn carry(db: Db, claim: Claim, watch: Arc<Watch>, (bytes, onward): (Arc<Vec<u8>>, bool)) {
    let began = Instant::now();
    match lease::keep_checkpoint(&db, &claim, &bytes, onward).await {
        Ok(true) => tracing::debug!(bytes = bytes.len(), "a checkpoint was stored"),
        Ok(false) => tracing::debug!("a checkpoint came too late"),
        Err(error) => tracing::warn!("a checkpoint was lost: {error}"),
    }
    watch.carried(began.elapsed());
}

/// True if the job to cancel is ours, or if notifications were missed.
async fn hear(told: &mut broadcast::Receiver<JobId>, ours: JobId) -> bool {
    match told.recv().await {
        Ok(job) => job == ours,
        Err(RecvError::Lagged(_)) => true,
        Err(RecvError::Closed) => std::future::pending().await,
    }
}

fn judge(standing: Result<LeaseState, QueueError>, renewed: Instant, watch: &Watch) {
    match standing {
        Ok(LeaseState::Held) => {}
        Ok(LeaseState::CancelRequested) => watch.stop(Reason::Cancelled),
        Ok(LeaseState::Lost) => watch.stop(Reason::Lost),
        // By then another worker may have the task; the fence keeps us from harm, but the work would be for nothing.
        Err(error) if renewed.elapsed() >= LEASE => {
            tracing::warn!("the lease could not be renewed in time: {error}");
            watch.stop(Reason::Lost);
        }
        Err(error) => tracing::warn!("a heartbeat failed: {error}"),
    }
}

/// Stores progress and events of the computation. They are lost if the database fails: they only inform people or save time.
async fn flush(db: &Db, claim: &Claim, watch: &Watch) {
    while let Some((kind, detail)) = watch.take_event() {
        if let Err(error) = lease::tell_event(db, claim, &kind, &detail).await {
            tracing::debug!("an event was lost: {error}");
            return;
        }
    }
    if let Some((phase, step, steps)) = watch.take_progress()
        && let Err(error) = lease::tell_progress(db, claim, phase, step, steps).await
    {
        tracing::debug!("progress was lost: {error}");
    }
}
