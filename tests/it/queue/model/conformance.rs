//! Random walks through the model and the real functions side by side: after every step the rows, the events and the
//! answer have to be the model's.

use std::collections::BTreeSet;

use practised::db::{JobStatus, tasks};
use practised::ids::{JobId, TaskId, WorkerId};
use practised::jobs::cancel::{self, Cancelling};
use practised::jobs::claim::{Claim, begin, claim};
use practised::jobs::complete::{Completion, complete};
use practised::jobs::fail::{Verdict, fail};
use practised::jobs::lease::{self, Standing};
use practised::jobs::{JobsError, LEASE, MAX_ATTEMPTS, rescue};
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::json;

use super::super::{brings, event_kinds, our_fault};
use super::action::{Action, Answer, Event, Reply, Rules, Step, Transaction};
use super::rows;
use super::state::{Bounds, Role, State, Status, TASKS, WORKERS};
use crate::support::database::Database;

/// As the code has it.
const RULES: Rules = Rules {
    bounds: Bounds { workers: WORKERS, first_tasks: 3, attempts: MAX_ATTEMPTS as u8, finetunes: true },
    mutant: None,
};

/// Steps of a walk, and how many of them it goes on when the job is done.
const STEPS: usize = 40;
const STEPS_AFTER_THE_END: usize = 6;

#[tokio::test]
async fn the_code_does_what_the_lease_model_does() {
    let walks = std::env::var("MODEL_TRACES").map_or(60, |walks| walks.parse().expect("a number"));
    let base = Database::start().await;
    let mut summary = Summary::default();
    for seed in 0..walks {
        Walk::start(&base).await.go(&mut ChaCha8Rng::seed_from_u64(seed), &mut summary).await;
    }
    let Summary { steps, ends, answers } = &summary;
    println!("lease model: {walks} traces, {steps} steps, ends {ends:?}, {} pairs of call and answer", answers.len());
    assert!(ends.len() == 4 || walks < 60, "{ends:?}");
    base.stop().await;
}

/// What the walks have come by.
#[derive(Default)]
struct Summary {
    steps: usize,
    ends: BTreeSet<Status>,
    answers: BTreeSet<(Transaction, Answer)>,
}

/// A job in the model and in the database.
struct Walk<'a> {
    base: &'a Database,
    job: JobId,
    workers: [WorkerId; WORKERS],
    /// What each worker remembers, and whether it was told that it rescued the task.
    claims: [Option<(Claim, bool)>; WORKERS],
    state: State,
    events: Vec<Event>,
    taken: Vec<Action>,
}

impl<'a> Walk<'a> {
    async fn start(base: &'a Database) -> Self {
        let job = base.job(json!({ "finetune": {} }), &["a", "b"]).await;
        let workers = [base.worker().await, base.worker().await, base.worker().await];
        let state = State::submitted(&RULES.bounds);
        Self {
            base,
            job,
            workers,
            claims: [const { None }; WORKERS],
            state,
            events: vec![Event::Queued],
            taken: vec![],
        }
    }

    async fn go(mut self, random: &mut ChaCha8Rng, summary: &mut Summary) {
        let mut left = STEPS;
        while left > 0 {
            let action = self.choose(random);
            let step = RULES.step(&self.state, action);
            self.taken.push(action);
            let answer = self.take(action).await;
            assert_eq!(answer, step.answer, "the answer of {self}");
            summary.answers.insert((action.transaction(), answer));
            self.follow(step).await;
            left -= 1;
            if self.state.job.status.is_done() {
                left = left.min(STEPS_AFTER_THE_END);
                summary.ends.insert(self.state.job.status);
            }
        }
        summary.steps += self.taken.len();
        rows::end(&self.base.db, self.job).await;
    }

    /// The model's word for the rows and events that there have to be now.
    async fn follow(&mut self, step: Step) {
        self.state = step.state;
        self.events.extend(step.events);
        for worker in 0..WORKERS {
            if self.state.workers[worker].role == Role::Idle {
                self.claims[worker] = None;
            }
        }
        let (job, tasks) = rows::read(&self.base.db, self.job).await;
        assert_eq!(job, self.state.job, "the job after {self}");
        assert_eq!(tasks, self.state.tasks, "the tasks after {self}");
        let kinds: Vec<&str> = self.events.iter().map(|event| rows::event_kind(*event)).collect();
        assert_eq!(event_kinds(&self.base.db, self.job).await, kinds, "the events after {self}");
    }

    fn choose(&self, random: &mut ChaCha8Rng) -> Action {
        let mut actions = Vec::new();
        RULES.actions(&self.state, &mut actions);
        actions.retain(|&action| self.is_the_one_that_the_code_takes(action));
        *actions.choose_weighted(random, |&action| weight(action)).expect("a customer can always ask")
    }

    /// The model leaves open which of several tasks is claimed or swept; the code has an order.
    fn is_the_one_that_the_code_takes(&self, action: Action) -> bool {
        let mut exhausted = (0..TASKS).filter(|&task| RULES.is_exhausted(&self.state, task));
        match action {
            Action::Claim(_, task) => (0..task).all(|earlier| !RULES.is_claimable(&self.state, earlier)),
            Action::SweepExhausted(_) => exhausted.count() == 1,
            Action::SweepOverdue => exhausted.next().is_none(),
            _ => true,
        }
    }

    /// The same in the database.
    async fn take(&mut self, action: Action) -> Answer {
        let db = &self.base.db;
        match action {
            Action::Claim(worker, _) => self.claim(worker).await,
            Action::ClaimNothing(worker) => match claim(db, self.workers[worker]).await.expect("claims") {
                Some(_) => Answer::Claimed,
                None => Answer::Nothing,
            },
            Action::Crash(_) => Answer::Silence,
            Action::WorkerDied(worker) => {
                rescue::worker_died(db, self.workers[worker]).await.expect("told");
                self.replace(worker).await
            }
            Action::Replace(worker) => self.replace(worker).await,
            Action::LeaseRunsOut(task) => rows::let_lease_run_out(db, self.task(task).await).await,
            Action::WaitEnds(task) => rows::end_wait(db, self.task(task).await).await,
            Action::DeadlinePasses => rows::pass_deadline(db, self.job).await,
            Action::RequestCancel => match cancel::request(db, self.job).await.expect("asked") {
                Cancelling::Cancelled => Answer::Cancelled,
                Cancelling::Requested => Answer::Requested,
                Cancelling::Done(status) => {
                    assert_ne!(status, JobStatus::Cancelled);
                    Answer::EndedOtherwise
                }
            },
            Action::SweepExhausted(_) | Action::SweepNothing => self.sweep().await,
            Action::SweepOverdue => {
                rows::end_patience(db, self.job).await;
                self.sweep().await
            }
            Action::FinishCancel => unreachable!("the code locks"),
            _ => self.by_lease(action).await,
        }
    }

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
        let claimed = tasks::claim(&mut conn, self.workers[worker], LEASE.as_secs_f64(), MAX_ATTEMPTS).await;
        let Some(tasks::ClaimRow { id, job, kind, block, attempt, lease, rescued }) = claimed.expect("claims") else {
            return Answer::Nothing;
        };
        self.claims[worker] = Some((Claim { task: id, job, kind, block, attempt, lease }, rescued));
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

    async fn sweep(&self) -> Answer {
        match rescue::sweep(&self.base.db).await.expect("swept") {
            0 => Answer::Nothing,
            ended => {
                assert_eq!(ended, 1, "there is one job");
                Answer::Swept
            }
        }
    }

    async fn replace(&mut self, worker: usize) -> Answer {
        self.workers[worker] = self.base.worker().await;
        Answer::Silence
    }

    async fn task(&self, place: usize) -> TaskId {
        let mut conn = self.base.db.connection().await.expect("a connection");
        let all = tasks::of_job(&mut conn, self.job).await.expect("read");
        all.iter().zip(rows::places(all.iter().map(|task| task.kind))).find(|(_, at)| *at == place).expect("there").0.id
    }
}

impl std::fmt::Display for Walk<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.taken)
    }
}

/// `None` where the lease was lost.
fn or_lost<T>(result: Result<T, JobsError>) -> Option<T> {
    match result {
        Ok(it) => Some(it),
        Err(JobsError::LeaseLost) => None,
        Err(error) => panic!("{error}"),
    }
}

fn standing(standing: Standing) -> Answer {
    match standing {
        Standing::Held => Answer::Held,
        Standing::CancelRequested => Answer::CancelRequested,
        Standing::Lost => Answer::Lost,
    }
}

/// How likely a step is beside others. What ends a job is rare, or no walk would get far.
fn weight(action: Action) -> u32 {
    match action {
        Action::Claim(..) | Action::Begin(_) => 60,
        Action::Complete(_, Reply::Heard) => 60,
        Action::WaitEnds(_) | Action::WorkerDied(_) | Action::Replace(_) => 40,
        Action::Acknowledge(..) | Action::SweepExhausted(_) => 20,
        Action::Complete(..) | Action::Release(..) | Action::Fail(_, _, true) => 10,
        Action::LeaseRunsOut(_) | Action::Crash(_) => 10,
        Action::Renew(_) | Action::Look(_) | Action::Tell(_) => 8,
        Action::SweepOverdue | Action::ClaimNothing(_) | Action::SweepNothing => 4,
        Action::RequestCancel | Action::Fail(..) => 3,
        Action::DeadlinePasses | Action::FinishCancel => 1,
    }
}
