//! How the queue works: what can happen in a state, and where it leads.

use super::action::{Action, Answer, Reply};
use super::mutants::Mutant;
use super::state::{Bounds, FINETUNE, Role, State, TASKS, TaskState};
use super::step::Step;

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
        // The only kind of task that keeps where it stands.
        if usize::from(state.workers[worker].task) == FINETUNE {
            actions.push(Action::Keep(worker));
        }
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
            Action::Keep(worker) => self.keep(&mut step, worker),
            Action::Complete(worker, _) => self.complete(&mut step, worker),
            Action::Fail(worker, _, may_pass) => self.fail(&mut step, worker, may_pass),
            Action::Release(worker, _) => self.release(&mut step, worker),
            Action::Acknowledge(worker, _) => self.acknowledge(&mut step, worker),
            Action::Crash(worker) => step.state.workers[worker].role = Role::Dead,
            Action::WorkerDied(worker) => self.worker_died(&mut step, worker),
            Action::Replace(worker) => self.replace(&mut step, worker),
            Action::LeaseRunsOut(task) => step.state.tasks[task].run_out(),
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
