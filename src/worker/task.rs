//! One claimed task, from its inputs to its end in the database.

use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::tasks::{Failure, Opening, Work};
use super::watch::{Reason, Watch};
use super::{Worker, heartbeat};
use crate::compress::Fault;
use crate::compress::pipeline::Bench;
use crate::db::DbError;
use crate::exec::memory::Trouble;
use crate::ids::JobId;
use crate::jobs::claim::Claim;
use crate::jobs::complete::{Completion, Done, complete};
use crate::jobs::{JobsError, LEASE, POLL, cancel, fail, lease};
use crate::problem::{Code, Problem};
use crate::service::faults;

/// A job's bench, kept for the next task of the same job: opening it decodes network and images.
pub(super) struct KeptBench {
    job: JobId,
    bench: Bench,
}

/// What a worker is left with after a task.
pub(super) enum After {
    /// The bench, for the next task.
    Fit(Option<Box<KeptBench>>),
    /// A device that fails whatever this process asks of it.
    DeviceLost,
}

/// Runs a task and ends it.
pub(super) async fn run(worker: &Worker, claim: &Claim, kept: Option<Box<KeptBench>>) -> After {
    let started = Instant::now();
    let watch = Arc::new(Watch::new(worker.keep_every));
    let done = CancellationToken::new();
    let told = worker.wake_ups.cancelled.subscribe();
    let beats = heartbeat::keep(&worker.db, claim, &watch, told, done.clone(), worker.stop.clone());
    let computing = async {
        let result = compute(worker, claim, kept, Arc::clone(&watch)).await;
        done.cancel();
        result
    };
    let span = tracing::info_span!(
        "task",
        job = %claim.job,
        task = claim.kind.as_str(),
        block = claim.block,
        attempt = claim.attempt,
        device = %worker.device,
    );
    let ((), (result, bench)) = async { tokio::join!(beats, computing) }.instrument(span).await;
    let lost = result.as_ref().err().and_then(Failure::trouble) == Some(Trouble::Lost);
    let job = claim.job;
    let kind = claim.kind.as_str();
    match end(worker, claim, &watch, result).await {
        Ok(how) => {
            tracing::info!(%job, task = kind, block = claim.block, attempt = claim.attempt, seconds = started.elapsed().as_secs_f64(), "{how}")
        }
        Err(JobsError::LeaseLost) => tracing::warn!(%job, task = kind, "the lease was lost; the result is dropped"),
        Err(error) => tracing::error!(%job, task = kind, "the task could not be ended: {error}"),
    }
    if lost { After::DeviceLost } else { After::Fit(bench) }
}

type Computed = (Result<Done, Failure>, Option<Box<KeptBench>>);

async fn compute(worker: &Worker, claim: &Claim, kept: Option<Box<KeptBench>>, watch: Arc<Watch>) -> Computed {
    let inputs = async {
        let source = match kept.filter(|kept| kept.job == claim.job) {
            Some(kept) => Source::Kept(kept),
            None => Source::Stored(Box::new(Opening::fetch(&worker.db, claim.job).await?)),
        };
        watch.begin_at(lease::checkpoint(&worker.db, claim).await?);
        Ok::<_, JobsError>((source, Work::fetch(&worker.db, claim).await?))
    };
    let (source, work) = match inputs.await {
        Ok(inputs) => inputs,
        Err(error) => return (Err(error.into()), None),
    };
    let (job, device, probe) = (claim.job, worker.device, worker.probe.clone());
    let span = tracing::Span::current();
    let computing = tokio::task::spawn_blocking(move || {
        let _entered = span.enter();
        let bench = match source {
            Source::Kept(kept) => kept.bench,
            Source::Stored(opening) => match opening.open(device, probe, &*watch) {
                Ok(bench) => bench,
                Err(error) => return (Err(error.into()), None),
            },
        };
        (work.run(&bench, &*watch), Some(Box::new(KeptBench { job, bench })))
    });
    computing.await.unwrap_or_else(|panic| (Err(panic.into()), None))
}

/// Where the bench of a task comes from.
enum Source {
    Kept(Box<KeptBench>),
    Stored(Box<Opening>),
}

/// Tells the database how the task went; a word for the log.
async fn end(
    worker: &Worker,
    claim: &Claim,
    watch: &Watch,
    result: Result<Done, Failure>,
) -> Result<&'static str, JobsError> {
    let db = &worker.db;
    match (watch.stopped(), result) {
        (Some(Reason::Lost), _) => Err(JobsError::LeaseLost),
        (Some(Reason::Cancelled), _) => patiently(|| cancel::acknowledge(db, claim)).await.map(|()| "cancelled"),
        (_, Ok(done)) => match patiently(|| complete(db, claim, &done)).await? {
            Completion::Stored => Ok("done"),
            Completion::Cancelled => Ok("cancelled"),
        },
        (Some(Reason::Stopping), Err(_)) => match patiently(|| lease::release(db, claim)).await? {
            true => Ok("released"),
            false => Err(JobsError::LeaseLost),
        },
        (None, Err(failure)) => {
            tracing::warn!(job = %claim.job, task = %claim.task, kind = claim.kind.as_str(), "failed: {failure}");
            let (problem, may_pass) = told(&failure, claim);
            match patiently(|| fail::fail(db, claim, &problem, may_pass)).await? {
                fail::Verdict::Retried => Ok("failed, to be tried again"),
                fail::Verdict::JobFailed => Ok("failed, and its job with it"),
                fail::Verdict::Cancelled => Ok("cancelled"),
            }
        }
    }
}

/// What the customer is told, and whether trying again could help. The log has the reasons of a failure of ours under the same ids.
fn told(failure: &Failure, claim: &Claim) -> (Problem, bool) {
    let problem = match failure {
        Failure::Compress(error) if error.fault() == Fault::Input => return (faults::problem(error), false),
        Failure::Compress(error) => faults::problem(error),
        _ => Problem::new(Code::Internal, "the task could not be finished"),
    };
    let detail = format!("{} (a failure of the service; its log has more under task {})", problem.detail, claim.task);
    (Problem { detail, ..problem }, true)
}

/// Tries again while the database does not answer, as long as the lease may still be ours.
async fn patiently<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, JobsError>
where
    F: Future<Output = Result<T, JobsError>>,
{
    let since = Instant::now();
    loop {
        match attempt().await {
            Err(JobsError::Db(DbError::Unavailable(reason))) if since.elapsed() < LEASE => {
                tracing::warn!("waiting for the database: {reason}");
                tokio::time::sleep(POLL).await;
            }
            result => return result,
        }
    }
}
