//! One claimed task, from its inputs to its end in the database.

use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::health::Sign;
use super::tasks::{Failure, Opening, Work};
use super::watch::{Reason, Watch};
use super::{Worker, heartbeat};
use crate::compress::pipeline::Bench;
use crate::db::{Db, DbError};
use crate::exec::memory::Trouble;
use crate::ids::JobId;
use crate::network::Origin;
use crate::problem::{Code, Problem};
use crate::queue::claimed::Claim;
use crate::queue::complete::{Completion, Done, complete};
use crate::queue::{LEASE, POLL, QueueError, cancel, fail, lease};
use crate::service::faults;

/// A job's bench, kept for the next task of the same job: opening it decodes network and images.
pub(super) struct KeptBench {
    job: JobId,
    bench: Bench,
}

/// What a worker is left with after a task.
pub(super) struct After {
    /// The bench, for the next task.
    pub(super) bench: Option<Box<KeptBench>>,
    /// What the task says about the worker.
    pub(super) sign: Sign,
    /// True where the device fails whatever this process asks of it.
    pub(super) gone: bool,
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
    let trouble = result.as_ref().err().and_then(Failure::trouble);
    let gone = matches!(trouble, Some(Trouble::Lost | Trouble::Unusable));
    let job = claim.job;
    let kind = claim.kind.as_str();
    let sign = match end(worker, claim, &watch, result).await {
        Ok((how, sign)) => {
            tracing::info!(%job, task = kind, block = claim.block, attempt = claim.attempt, seconds = started.elapsed().as_secs_f64(), "{how}");
            sign
        }
        Err(QueueError::LeaseLost) => {
            tracing::warn!(%job, task = kind, "the lease was lost; the result is dropped");
            Sign::None
        }
        Err(error) => {
            tracing::error!(%job, task = kind, "the task could not be ended: {error}");
            Sign::None
        }
    };
    After { bench, sign, gone }
}

type Computed = (Result<Done, Failure>, Option<Box<KeptBench>>);

async fn compute(worker: &Worker, claim: &Claim, kept: Option<Box<KeptBench>>, watch: Arc<Watch>) -> Computed {
    let inputs = async {
        let source = match kept.filter(|kept| kept.job == claim.job) {
            Some(kept) => Source::Kept(kept),
            None => Source::Stored(Box::new(Opening::fetch(&worker.db, claim.job).await?)),
        };
        watch.begin_at(lease::checkpoint(&worker.db, claim).await?);
        Ok::<_, QueueError>((source, Work::fetch(&worker.db, claim).await?))
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

/// Tells the database how the task went; a word for the log, and what it says about the worker.
async fn end(
    worker: &Worker,
    claim: &Claim,
    watch: &Watch,
    result: Result<Done, Failure>,
) -> Result<(&'static str, Sign), QueueError> {
    let db = &worker.db;
    match (watch.stopped(), result) {
        (Some(Reason::Lost), _) => Err(QueueError::LeaseLost),
        (Some(Reason::Cancelled), _) => {
            patiently(|| cancel::acknowledge(db, claim)).await.map(|()| ("cancelled", Sign::None))
        }
        (_, Ok(done)) => match patiently(|| complete(db, claim, &done)).await? {
            Completion::Stored => Ok(("done", Sign::Good)),
            Completion::Cancelled => Ok(("cancelled", Sign::None)),
        },
        (Some(Reason::Stopping), Err(_)) => {
            released(patiently(|| lease::release(db, claim)).await?).map(|how| (how, Sign::None))
        }
        (None, Err(failure)) => failed(db, claim, failure).await,
    }
}

/// What the customer is told, and whether trying again could help. The log has the reasons of a failure of ours under the same ids.
fn told(failure: &Failure, claim: &Claim) -> (Problem, bool) {
    let problem = match failure {
        Failure::Compress(error) if error.origin() == Origin::Input => return (faults::problem(error), false),
        Failure::Compress(error) => faults::problem(error),
        _ => Problem::new(Code::Internal, "the task could not be finished"),
    };
    let detail =
        format!("{} (an internal error; the service's log has more under task {})", problem.detail, claim.task);
    (Problem { detail, ..problem }, true)
}

/// A failure that says nothing about the task gives it back; any other is the task's, until another worker has tried it too.
async fn failed(db: &Db, claim: &Claim, failure: Failure) -> Result<(&'static str, Sign), QueueError> {
    let sign = Sign::Bad(failure.short());
    if failure.trouble() == Some(Trouble::Unusable) {
        tracing::error!(job = %claim.job, task = claim.kind.as_str(), "the task was given back, because this worker cannot \
            compute: {failure}");
        let declined = patiently(|| lease::decline(db, claim, failure.short())).await?;
        return released(declined).map(|how| (how, sign));
    }
    if let Failure::Inputs(QueueError::Db(DbError::Unavailable(reason))) = &failure {
        tracing::warn!(job = %claim.job, task = claim.kind.as_str(), "the task was given back, because the database does not \
            answer: {reason}");
        return released(patiently(|| lease::release(db, claim)).await?).map(|how| (how, Sign::None));
    }
    if let Failure::Inputs(error @ QueueError::NewerJob(_)) = &failure {
        tracing::warn!(job = %claim.job, task = claim.kind.as_str(), "given back: {error}; upgrade this worker");
        let reason = "the worker's version is too old for a setting of the job";
        return released(patiently(|| lease::leave_to_newer(db, claim, reason)).await?).map(|how| (how, Sign::None));
    }
    let inputs = matches!(failure, Failure::Inputs(_));
    tracing::warn!(job = %claim.job, task = %claim.task, kind = claim.kind.as_str(), "failed: {failure}");
    let (problem, may_pass) = told(&failure, claim);
    // What the customer sent, or what is stored, says nothing about this worker.
    let sign = if may_pass && !inputs { sign } else { Sign::None };
    match patiently(|| fail::fail(db, claim, &problem, may_pass)).await? {
        fail::Verdict::Retried => Ok(("the task failed and will be tried again", sign)),
        fail::Verdict::JobFailed => Ok(("the task failed, and its job with it", sign)),
        fail::Verdict::Cancelled => Ok(("cancelled", Sign::None)),
    }
}

fn released(released: bool) -> Result<&'static str, QueueError> {
    if released { Ok("released") } else { Err(QueueError::LeaseLost) }
}

/// Tries again while the database does not answer, as long as the lease may still be ours.
async fn patiently<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, QueueError>
where
    F: Future<Output = Result<T, QueueError>>,
{
    let since = Instant::now();
    loop {
        match attempt().await {
            Err(QueueError::Db(DbError::Unavailable(reason))) if since.elapsed() < LEASE => {
                tracing::warn!("waiting for the database: {reason}");
                tokio::time::sleep(POLL).await;
            }
            result => return result,
        }
    }
}
