//! Random walks through the model and the real functions side by side: after every step the rows, the events and the
//! answer have to be the model's.

use std::collections::BTreeSet;

use practised::queue::MAX_ATTEMPTS;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::action::{Action, Answer, Reply, Transaction};
use super::explore::explored;
use super::rules::Rules;
use super::state::{Bounds, Role, State, Status, TASKS, WORKERS};
use super::step::{Event, Step};
use super::walk::Walk;
use crate::support::database::Database;

/// As the code has it, but for the number of crashes.
const RULES: Rules = Rules {
    bounds: Bounds {
        workers: WORKERS,
        first_tasks: 3,
        attempts: MAX_ATTEMPTS as u8,
        crashes: CRASHES,
        finetunes: true,
    },
    mutant: None,
};

/// Crashes in a row without progress, at most: fewer than the queue allows, or no trace would get there.
pub const CRASHES: u8 = 3;

/// Steps of a trace, and how many of them it goes on when the job is done.
const STEPS: usize = 60;
const STEPS_AFTER_THE_END: usize = 8;

#[tokio::test]
async fn the_code_does_what_the_lease_model_does() {
    let traces = std::env::var("MODEL_TRACES").map_or(100, |traces| traces.parse().expect("a number"));
    let base = Database::start().await;
    let mut met = Met::default();
    for seed in 0..traces {
        Trace::start(&base).await.follow(&mut ChaCha8Rng::seed_from_u64(seed), &mut met).await;
    }
    base.stop().await;
    println!("lease model: {traces} traces, {} steps, each as in the database", met.steps);
    assert_eq!(met.ends.len(), 4, "{:?}", met.ends);
    let missed: Vec<_> = explored().answers.difference(&met.answers).collect();
    assert!(missed.is_empty(), "no trace met {missed:?}");
}

/// What the traces have come by.
#[derive(Default)]
struct Met {
    steps: usize,
    ends: BTreeSet<Status>,
    answers: BTreeSet<(Transaction, Answer)>,
}

/// One job, in the model and in the database.
struct Trace<'a> {
    state: State,
    events: Vec<Event>,
    walk: Walk<'a>,
    taken: Vec<Action>,
}

impl<'a> Trace<'a> {
    async fn start(base: &'a Database) -> Self {
        let (state, walk) = (State::submitted(&RULES.bounds), Walk::start(base).await);
        Self { state, events: vec![Event::Queued], walk, taken: Vec::new() }
    }

    async fn follow(mut self, random: &mut ChaCha8Rng, met: &mut Met) {
        let mut left = STEPS;
        while left > 0 {
            let action = self.choose(random);
            let step = RULES.step(&self.state, action);
            self.taken.push(action);
            let answer = self.walk.take(action).await;
            assert_eq!(answer, step.answer, "the answer of {:?}", self.taken);
            self.compare(step).await;
            met.answers.insert((action.transaction(), answer));
            left -= 1;
            if self.state.job.status.is_done() {
                left = left.min(STEPS_AFTER_THE_END);
                met.ends.insert(self.state.job.status);
            }
        }
        met.steps += self.taken.len();
        self.walk.end().await;
    }

    async fn compare(&mut self, step: Step) {
        self.state = step.state;
        self.events.extend(step.events);
        for worker in (0..WORKERS).filter(|&worker| self.state.workers[worker].role == Role::Idle) {
            self.walk.forget(worker);
        }
        let (job, tasks, events) = self.walk.rows().await;
        assert_eq!(job, self.state.job, "the job after {:?}", self.taken);
        assert_eq!(tasks, self.state.tasks, "the tasks after {:?}", self.taken);
        let named: Vec<&str> = self.events.iter().map(|event| event.name()).collect();
        assert_eq!(events, named, "the events after {:?}", self.taken);
    }

    fn choose(&self, random: &mut ChaCha8Rng) -> Action {
        let mut actions = Vec::new();
        RULES.actions(&self.state, &mut actions);
        actions.retain(|&action| self.is_the_one_that_the_code_takes(action));
        *actions.choose_weighted(random, |&action| self.weight(action)).expect("a customer can always ask")
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

    /// How likely a step is beside others. What ends a job is rare, or no trace would get far; when it has ended, or is
    /// to be cancelled, all that is still tried is of the same interest.
    fn weight(&self, action: Action) -> u32 {
        let job = &self.state.job;
        match action {
            Action::Renew(_) | Action::Look(_) | Action::Acknowledge(..) if job.cancel_requested => 3,
            _ if job.status.is_done() || job.cancel_requested => 1,
            Action::RequestCancel if self.state.any_held() => 12,
            Action::RequestCancel | Action::SweepOverdue | Action::DeadlinePasses => 1,
            Action::Complete(_, Reply::Heard) => 120,
            Action::Claim(..) | Action::Begin(_) => 60,
            Action::WaitEnds(_) | Action::WorkerDied(_) | Action::Replace(_) => 40,
            Action::Acknowledge(..) | Action::SweepExhausted(_) => 20,
            Action::Complete(..) | Action::Release(..) | Action::Fail(_, _, true) => 10,
            Action::LeaseRunsOut(_) | Action::Crash(_) => 10,
            Action::Keep(_) => 30,
            Action::Renew(_) | Action::Look(_) | Action::Tell(_) => 8,
            Action::ClaimNothing(_) | Action::SweepNothing => 4,
            Action::Fail(..) => 2,
            Action::FinishCancel => unreachable!("the code locks"),
        }
    }
}
