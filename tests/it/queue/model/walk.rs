//! The model's actions on a real job, by the functions that workers, supervisors and customers call.

use practised::db::claims::{self, ClaimRow, Rules};
use practised::db::{JobStatus, tasks, workers};
use practised::ids::{JobId, TaskId, WorkerId};
use practised::queue::cancel::{self, Cancelling};
use practised::queue::claim::{RULES, begin};
use practised::queue::claimed::Claim;
use practised::queue::complete::{Completion, complete};
use practised::queue::fail::{Verdict, fail};
use practised::queue::lease::{self, LeaseState};
use practised::queue::{QueueError, rescue};
use serde_json::json;

use super::super::{brings, event_kinds, our_fault};
use super::action::{Action, Answer};
use super::conformance::CRASHES;
use super::rows;
use super::state::{Job, TASKS, Task, WORKERS};
use crate::support::database::Database;

/// As the queue's, with fewer crashes, and a wait after them that is over when the model says so.
const OURS: Rules = Rules { max_crashes: CRASHES as i32, crash_wait_seconds: 3600.0, ..RULES };

/// A job in the database, and what its workers remember.
pub struct Walk<'a> {
    base: &'a Database,
    job: JobId,
    workers: [WorkerId; WORKERS],
    /// One slot for all: which of several workers comes first after a failure is an order of claims, which is left out here.
    slot: WorkerId,
    /// Each worker's claim, and whether it rescued the task.
    claims: [Option<(Claim, bool)>; WORKERS],
}

impl<'a> Walk<'a> {
    pub async fn start(base: &'a Database) -> Self {
        let job = base.job(json!({ "finetune": {} }), &["a", "b"]).await;
        let slot = base.worker().await;
        let workers = [worker(base, slot).await, worker(base, slot).await, worker(base, slot).await];
        Self { base, job, workers, slot, claims: [const { None }; WORKERS] }
    }

    /// Takes a step; what the caller is told.
    pub async fn take(&mut self, action: Action) -> Answer {
        let db = &self.base.db;
        match action {
            Action::Claim(worker, _) => self.claim(worker).await,
            Action::ClaimNothing(worker) => self.claim(worker).await,
            Action::Crash(_) => Answer::Silence,
            Action::WorkerDied(worker) => {
                rescue::worker_died(db, self.workers[worker]).await.expect("told");
                self.replace(worker).await
            }
            Action::Replace(worker) => self.replace(worker).await,
            Action::LeaseRunsOut(task) => rows::let_lease_run_out(db, self.task(task).await).await,
            Action::WaitEnds(task) => rows::end_wait(db, self.task(task).await).await,
            Action::DeadlinePasses => rows::pass_deadline(db, self.job).await,
            Action::RequestCancel => self.request_cancel().await,
            Action::SweepExhausted(_) | Action::SweepNothing => self.sweep().await,
            Action::SweepOverdue => {
                rows::end_patience(db, self.job).await;
                self.sweep().await
            }
            Action::FinishCancel => unreachable!("the code locks"),
            _ => self.by_lease(action).await,
        }
    }

    /// The worker is done with its task.
    pub fn forget(&mut self, worker: usize) {
        self.claims[worker] = None;
    }

    /// The rows as the model has them, and the kinds of the events.
    pub async fn rows(&self) -> (Job, [Task; TASKS], Vec<String>) {
        let (job, tasks) = rows::read(&self.base.db, self.job).await;
        (job, tasks, event_kinds(&self.base.db, self.job).await)
    }

    /// Ends the job, so that no later claim or sweep meets it.
    pub async fn end(self) {
        cancel::request(&self.base.db, self.job).await.expect("asked");
        rows::end_patience(&self.base.db, self.job).await;
        rescue::sweep(&self.base.db).await.expect("swept");
        // Those that were replaced without a word, too: the next trace's workers are to be alone.
        let stop = sqlx::query("update worker set stopped_at = now() where stopped_at is null");
        stop.execute(self.base.db.pool()).await.expect("stopped");
    }

    /// What is asked with a lease in hand.
    async fn by_lease(&self, action: Action) -> Answer {
        let db = &self.base.db;
        let worker = action.by_lease_of().expect("the rest is by lease");
        let (claim, rescued) = self.claims[worker].as_ref().expect("it took a task");
        match action {
            Action::Begin(_) if begin(db, claim, *rescued).await.expect("begins") => Answer::Begun,
            Action::Begin(_) => Answer::NotBegun,
            Action::Renew(_) => standing(lease::renew(db, claim).await.expect("asked")),
            Action::Look(_) => standing(lease::look(db, claim).await.expect("asked")),
            Action::Tell(_) if lease::tell_event(db, claim, "said", &json!({})).await.expect("asked") => Answer::Told,
            Action::Tell(_) => Answer::NotTold,
            Action::Keep(_) if lease::keep_checkpoint(db, claim, b"further", true).await.expect("asked") => {
                Answer::Kept
            }
            Action::Keep(_) => Answer::NotKept,
            Action::Complete(..) => match or_lost(complete(db, claim, &brings(claim.kind)).await) {
                None => Answer::LeaseLost,
                Some(Completion::Stored) => Answer::Stored,
                Some(Completion::Cancelled) => Answer::Cancelled,
            },
            Action::Fail(_, _, may_pass) => self.fail(claim, may_pass).await,
            Action::Release(..) if lease::release(db, claim).await.expect("asked") => Answer::Released,
            Action::Release(..) => Answer::LeaseLost,
            Action::Acknowledge(..) => match or_lost(cancel::acknowledge(db, claim).await) {
                None => Answer::LeaseLost,
                Some(()) => Answer::Acknowledged,
            },
            other => unreachable!("{other:?} stands on no lease"),
        }
    }

    /// Only the first transaction of a claim; the second is a step of its own.
    async fn claim(&mut self, worker: usize) -> Answer {
        let mut conn = self.base.db.connection().await.expect("a connection");
        let claimed = claims::claim(&mut conn, self.workers[worker], OURS).await;
        let Some(ClaimRow { claim, rescued }) = claimed.expect("claims") else { return Answer::Nothing };
        self.claims[worker] = Some((claim, rescued));
        Answer::Claimed
    }

    async fn fail(&self, claim: &Claim, may_pass: bool) -> Answer {
        let db = &self.base.db;
        let before = rows::now(db).await;
        match or_lost(fail(db, claim, &our_fault(), may_pass).await) {
            None => Answer::LeaseLost,
            Some(Verdict::JobFailed) => Answer::JobFailed,
            Some(Verdict::Cancelled) => Answer::Cancelled,
            Some(Verdict::Retried) => {
                rows::stretch_wait(db, claim.task, before).await;
                Answer::Retried
            }
        }
    }

    async fn request_cancel(&self) -> Answer {
        match cancel::request(&self.base.db, self.job).await.expect("asked") {
            Cancelling::Cancelled => Answer::Cancelled,
            Cancelling::Requested => Answer::Requested,
            Cancelling::Done(status) => {
                assert_ne!(status, JobStatus::Cancelled);
                Answer::EndedOtherwise
            }
        }
    }

    async fn sweep(&self) -> Answer {
        match rescue::sweep_by(&self.base.db, OURS).await.expect("swept") {
            0 => Answer::Nothing,
            ended => {
                assert_eq!(ended, 1, "there is one job");
                Answer::Swept
            }
        }
    }

    async fn replace(&mut self, worker: usize) -> Answer {
        self.workers[worker] = self::worker(self.base, self.slot).await;
        Answer::Silence
    }

    /// The task that the model keeps at this place.
    async fn task(&self, place: usize) -> TaskId {
        let mut conn = self.base.db.connection().await.expect("a connection");
        let all = tasks::of_job(&mut conn, self.job).await.expect("read");
        let mut placed = all.iter().zip(rows::places(all.iter().map(|task| task.kind)));
        placed.find(|(_, at)| *at == place).expect("it is there").0.id
    }
}

async fn worker(base: &Database, slot: WorkerId) -> WorkerId {
    let id = base.worker().await;
    let mut conn = base.db.connection().await.expect("a connection");
    workers::take_slot(&mut conn, id, slot).await.expect("taken");
    id
}

/// `None` where the lease was lost.
fn or_lost<T>(result: Result<T, QueueError>) -> Option<T> {
    match result {
        Ok(it) => Some(it),
        Err(QueueError::LeaseLost) => None,
        Err(error) => panic!("{error}"),
    }
}

fn standing(standing: LeaseState) -> Answer {
    match standing {
        LeaseState::Held => Answer::Held,
        LeaseState::CancelRequested => Answer::CancelRequested,
        LeaseState::Lost => Answer::Lost,
    }
}
