//! What can happen next, and what comes of it.

use super::mutants::Mutant;
use super::state::{Bounds, Role, State, TASKS, TaskState};

/// One committed transaction, one call that finds nothing to do, or time that passes. Workers and tasks are named by
/// their place in the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The first transaction of `claim`.
    Claim(usize, usize),
    /// `claim` where there is nothing to take.
    ClaimNothing(usize),
    /// The second transaction of `claim`.
    Begin(usize),
    Renew(usize),
    Look(usize),
    /// `lease::tell_event`.
    Tell(usize),
    Complete(usize, Reply),
    /// A fault that may pass, or one of the input.
    Fail(usize, Reply, bool),
    Release(usize, Reply),
    Acknowledge(usize, Reply),
    /// The worker's process dies, and with it what it remembers.
    Crash(usize),
    /// The supervisor tells that it died and starts another.
    WorkerDied(usize),
    /// Another starts in its place and nobody tells, as after a loss of the host.
    Replace(usize),
    LeaseRunsOut(usize),
    WaitEnds(usize),
    DeadlinePasses,
    RequestCancel,
    /// The second half of a request that does not lock.
    FinishCancel,
    SweepExhausted(usize),
    SweepOverdue,
    /// `sweep` where there is nothing to end.
    SweepNothing,
}

/// Whether the word of a commit reaches the worker. Where it does not the worker tries again (`worker::task::patiently`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reply {
    Heard,
    Lost,
}

/// What the caller is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// Time has nothing to say.
    Silence,
    Nothing,
    Claimed,
    Begun,
    NotBegun,
    Held,
    CancelRequested,
    Lost,
    Told,
    NotTold,
    Stored,
    Retried,
    JobFailed,
    Released,
    Acknowledged,
    Cancelled,
    Requested,
    EndedOtherwise,
    LeaseLost,
    Swept,
}

/// The transaction that commits: what the diagrams' edges are labelled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transaction {
    Submit,
    Claim,
    Begin,
    Renew,
    Look,
    Tell,
    Complete,
    Fail,
    Release,
    Acknowledge,
    Cancel,
    Sweep,
    WorkerDied,
    Time,
}

/// A row of `event`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Queued,
    Started,
    TaskStarted,
    TaskRescued,
    Said,
    TaskDone,
    TaskFailed,
    TaskReleased,
    CancelRequested,
    Succeeded,
    Failed,
    Cancelled,
    Expired,
}

impl Event {
    pub fn is_an_end(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::Expired)
    }
}

/// What an action leads to.
#[derive(Debug, Clone)]
pub struct Step {
    pub state: State,
    pub answer: Answer,
    pub events: Vec<Event>,
    pub transaction: Transaction,
}

impl Step {
    pub fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    pub fn answer(&mut self, answer: Answer) {
        self.answer = answer;
    }
}

/// How the queue works: as it is, or with one guard taken away.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    pub bounds: Bounds,
    pub mutant: Option<Mutant>,
}

impl Rules {
    pub fn lack(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    pub fn workers(&self) -> std::ops::Range<usize> {
        0..self.bounds.workers
    }

    /// Everything that can happen now.
    pub fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for worker in self.workers() {
            // Of neighbours that are the same one is enough.
            if worker == 0 || state.workers[worker] != state.workers[worker - 1] {
                self.of_worker(state, worker, actions);
            }
        }
        for task in 0..TASKS {
            self.of_task(state, task, actions);
        }
        self.of_job(state, actions);
    }

    fn of_worker(&self, state: &State, worker: usize, actions: &mut Vec<Action>) {
        match state.workers[worker].role {
            Role::Idle => {
                let before = actions.len();
                let claimable = (0..TASKS).filter(|&task| self.is_claimable(state, task));
                actions.extend(claimable.map(|task| Action::Claim(worker, task)));
                if actions.len() == before {
                    actions.push(Action::ClaimNothing(worker));
                }
            }
            Role::Claimed => actions.extend([Action::Begin(worker), Action::Crash(worker)]),
            Role::Working => self.while_computing(state, worker, actions),
            Role::Dead => actions.extend([Action::WorkerDied(worker), Action::Replace(worker)]),
        }
    }

    fn while_computing(&self, state: &State, worker: usize, actions: &mut Vec<Action>) {
        actions.extend([Action::Renew, Action::Look, Action::Tell, Action::Crash].map(|action| action(worker)));
        let replies: &[Reply] = if state.holds(worker) { &[Reply::Heard, Reply::Lost] } else { &[Reply::Heard] };
        for &reply in replies {
            actions.extend([Action::Complete, Action::Release].map(|action| action(worker, reply)));
            actions.extend([true, false].map(|may_pass| Action::Fail(worker, reply, may_pass)));
            // It may have learned of the request at any time since.
            if state.job.cancel_requested {
                actions.push(Action::Acknowledge(worker, reply));
            }
        }
    }

    fn of_task(&self, state: &State, task: usize, actions: &mut Vec<Action>) {
        let row = &state.tasks[task];
        if row.state == TaskState::Running && !row.ran_out {
            actions.push(Action::LeaseRunsOut(task));
        }
        if row.waits {
            actions.push(Action::WaitEnds(task));
        }
        if self.is_exhausted(state, task) {
            actions.push(Action::SweepExhausted(task));
        }
    }

    fn of_job(&self, state: &State, actions: &mut Vec<Action>) {
        actions.push(if state.job.half_cancelled { Action::FinishCancel } else { Action::RequestCancel });
        if !state.job.late && !state.job.status.is_done() {
            actions.push(Action::DeadlinePasses);
        }
        if self.is_overdue(state) {
            actions.push(Action::SweepOverdue);
        } else if !(0..TASKS).any(|task| self.is_exhausted(state, task)) {
            actions.push(Action::SweepNothing);
        }
    }

    /// What the action leads to; it has to be one of [`Self::actions`].
    pub fn step(&self, state: &State, action: Action) -> Step {
        let transaction = action.transaction();
        let mut step = Step { state: *state, answer: Answer::Silence, events: Vec::new(), transaction };
        match action {
            Action::Claim(worker, task) => self.claim(&mut step, worker, task),
            Action::ClaimNothing(_) => step.answer(Answer::Nothing),
            Action::Begin(worker) => self.begin(&mut step, worker),
            Action::Renew(worker) => self.renew(&mut step, worker),
            Action::Look(worker) => self.look(&mut step, worker),
            Action::Tell(worker) => self.tell(&mut step, worker),
            Action::Complete(worker, _) => self.complete(&mut step, worker),
            Action::Fail(worker, _, may_pass) => self.fail(&mut step, worker, may_pass),
            Action::Release(worker, _) => self.release(&mut step, worker),
            Action::Acknowledge(worker, _) => self.acknowledge(&mut step, worker),
            Action::Crash(worker) => step.state.workers[worker].role = Role::Dead,
            Action::WorkerDied(worker) => self.worker_died(&mut step, worker),
            Action::Replace(worker) => self.replace(&mut step, worker),
            Action::LeaseRunsOut(task) => step.state.tasks[task].ran_out = true,
            Action::WaitEnds(task) => step.state.tasks[task].waits = false,
            Action::DeadlinePasses => step.state.job.late = true,
            Action::RequestCancel => self.request_cancel(&mut step),
            Action::FinishCancel => self.finish_cancel(&mut step),
            Action::SweepExhausted(task) => self.sweep_exhausted(&mut step, task),
            Action::SweepOverdue => self.sweep_overdue(&mut step),
            Action::SweepNothing => step.answer(Answer::Nothing),
        }
        if let Some((worker, Reply::Lost)) = action.reply() {
            step.state.workers[worker] = state.workers[worker];
        }
        step
    }
}

impl Action {
    /// The worker that asks, and whether it hears the answer.
    fn reply(self) -> Option<(usize, Reply)> {
        match self {
            Self::Complete(worker, reply)
            | Self::Fail(worker, reply, _)
            | Self::Release(worker, reply)
            | Self::Acknowledge(worker, reply) => Some((worker, reply)),
            _ => None,
        }
    }

    /// The worker whose lease the action stands on.
    pub fn by_lease_of(self) -> Option<usize> {
        match self {
            Self::Begin(worker)
            | Self::Renew(worker)
            | Self::Look(worker)
            | Self::Tell(worker)
            | Self::WorkerDied(worker) => Some(worker),
            _ => self.reply().map(|(worker, _)| worker),
        }
    }

    pub fn transaction(self) -> Transaction {
        match self {
            Self::Claim(..) | Self::ClaimNothing(_) => Transaction::Claim,
            Self::Begin(_) => Transaction::Begin,
            Self::Renew(_) => Transaction::Renew,
            Self::Look(_) => Transaction::Look,
            Self::Tell(_) => Transaction::Tell,
            Self::Complete(..) => Transaction::Complete,
            Self::Fail(..) => Transaction::Fail,
            Self::Release(..) => Transaction::Release,
            Self::Acknowledge(..) => Transaction::Acknowledge,
            Self::WorkerDied(_) => Transaction::WorkerDied,
            Self::RequestCancel | Self::FinishCancel => Transaction::Cancel,
            Self::SweepExhausted(_) | Self::SweepOverdue | Self::SweepNothing => Transaction::Sweep,
            Self::Crash(_) | Self::Replace(_) | Self::LeaseRunsOut(_) | Self::WaitEnds(_) | Self::DeadlinePasses => {
                Transaction::Time
            }
        }
    }
}
