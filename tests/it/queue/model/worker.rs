//! What a worker's calls do: `jobs::{claim, lease, complete, fail}` and `cancel::acknowledge`.

use super::action::{Answer, Transaction};
use super::mutants::Mutant;
use super::rules::Rules;
use super::state::{EXPORT, FINETUNE, Role, SELECT, State, Status, TASKS, Task, TaskState, Worker};
use super::step::{Event, Step};

impl Rules {
    /// Whether `tasks::claim` may take a task. Rows that others are busy with are skipped, so it may be any of these.
    pub fn is_claimable(&self, state: &State, task: usize) -> bool {
        let Task { state: task, crashes, ran_out, waits, progressed, .. } = state.tasks[task];
        let crashes_left = progressed || crashes + 1 < self.bounds.crashes || self.lack(Mutant::ClaimIgnoresCrashes);
        let is_there = match task {
            TaskState::Ready => !waits,
            TaskState::Running => (ran_out && !waits || self.lack(Mutant::ClaimTakesLiveLease)) && crashes_left,
            TaskState::Done => self.lack(Mutant::ClaimTakesDoneTask),
            _ => false,
        };
        let job = &state.job;
        is_there && !job.status.is_done() && !job.cancel_requested && !job.late
    }

    pub(super) fn claim(&self, step: &mut Step, worker: usize, task: usize) {
        let row = &mut step.state.tasks[task];
        let rescued = row.state == TaskState::Running;
        let (progressed, keeps) = (row.progressed, self.lack(Mutant::ClaimKeepsProgress));
        match rescued {
            false => row.attempt += 1,
            true if progressed && !self.lack(Mutant::CrashIgnoresProgress) => (row.attempt, row.crashes) = (1, 0),
            true => row.crashes += u8::from(!self.lack(Mutant::ClaimCountsNoCrash)),
        }
        row.leave(TaskState::Running);
        row.progressed = progressed && keeps;
        row.lease += u8::from(!self.lack(Mutant::ClaimKeepsLeaseNumber));
        let lease = row.lease;
        step.state.workers[worker] = Worker { role: Role::Claimed, task: task as u8, lease, rescued };
        step.answer(Answer::Claimed);
    }

    pub(super) fn begin(&self, step: &mut Step, worker: usize) {
        let job = &step.state.job;
        if job.status.is_done() || job.cancel_requested {
            self.acknowledge(step, worker);
            return step.answer(Answer::NotBegun);
        }
        if !step.state.holds(worker) && !self.lack(Mutant::BeginWithoutFence) {
            return leave(step, worker, Answer::NotBegun);
        }
        if job.status == Status::Queued {
            step.state.job.status = Status::Running;
            step.event(Event::Started);
        }
        let me = &mut step.state.workers[worker];
        let event = if me.rescued { Event::TaskRescued } else { Event::TaskStarted };
        (me.role, me.rescued) = (Role::Working, false);
        step.event(event);
        step.answer(Answer::Begun);
    }

    pub(super) fn renew(&self, step: &mut Step, worker: usize) {
        let is_running = step.state.task_of(worker).state == TaskState::Running;
        if step.state.holds(worker) || is_running && self.lack(Mutant::RenewWithoutFence) {
            let task = step.state.task_of(worker);
            (task.ran_out, task.waits) = (false, false);
        }
        self.look(step, worker);
    }

    pub(super) fn look(&self, step: &mut Step, worker: usize) {
        if !step.state.holds(worker) {
            return leave(step, worker, Answer::Lost);
        }
        step.answer(if step.state.job.cancel_requested { Answer::CancelRequested } else { Answer::Held });
    }

    /// A worker does not look at the answer: what is lost is for people to look at.
    pub(super) fn tell(&self, step: &mut Step, worker: usize) {
        let held = step.state.holds(worker) || self.lack(Mutant::TellWithoutFence);
        if held && !step.state.job.status.is_done() {
            step.event(Event::Said);
            step.answer(Answer::Told);
        } else {
            step.answer(Answer::NotTold);
        }
    }

    /// A worker does not look at the answer here either. After progress a crash makes nobody wait.
    pub(super) fn keep(&self, step: &mut Step, worker: usize) {
        let is_running = step.state.task_of(worker).state == TaskState::Running;
        if step.state.holds(worker) || is_running && self.lack(Mutant::KeepWithoutFence) {
            let task = step.state.task_of(worker);
            (task.progressed, task.waits) = (true, false);
            step.answer(Answer::Kept);
        } else {
            step.answer(Answer::NotKept);
        }
    }

    pub(super) fn complete(&self, step: &mut Step, worker: usize) {
        if step.state.job.status.is_done() {
            return leave(step, worker, Answer::LeaseLost);
        }
        if step.state.job.cancel_requested && !self.lack(Mutant::CompleteIgnoresCancel) {
            return self.give_in(step, worker);
        }
        let is_running = step.state.task_of(worker).state == TaskState::Running;
        if !(step.state.holds(worker) || is_running && self.lack(Mutant::CompleteWithoutFence)) {
            return leave(step, worker, Answer::LeaseLost);
        }
        step.state.task_of(worker).leave(TaskState::Done);
        step.event(Event::TaskDone);
        self.go_on(step, usize::from(step.state.workers[worker].task));
        leave(step, worker, Answer::Stored);
    }

    /// `flow::next` and what follows from it.
    fn go_on(&self, step: &mut Step, done: usize) {
        let mut there = step.state.tasks.iter().filter(|task| task.state != TaskState::Absent);
        match done {
            0..SELECT if there.any(|task| task.state != TaskState::Done) => {}
            // As if it were read before the last task was marked as done.
            0..SELECT if self.lack(Mutant::FlowMissesTheLastTask) => {}
            0..SELECT => step.state.tasks[SELECT] = Task::NEW,
            SELECT if self.bounds.finetunes => step.state.tasks[FINETUNE] = Task::NEW,
            SELECT | FINETUNE => step.state.tasks[EXPORT] = Task::NEW,
            EXPORT..TASKS => {
                step.state.job.reports += u8::from(!self.lack(Mutant::ReportInItsOwnTransaction));
                self.end(step, Status::Succeeded, Event::Succeeded);
            }
            _ => unreachable!("there is no such task"),
        }
    }

    pub(super) fn fail(&self, step: &mut Step, worker: usize, may_pass: bool) {
        if step.state.job.status.is_done() {
            return leave(step, worker, Answer::LeaseLost);
        }
        if step.state.job.cancel_requested && !self.lack(Mutant::FailIgnoresCancel) {
            return self.give_in(step, worker);
        }
        if !step.state.holds(worker) {
            return leave(step, worker, Answer::LeaseLost);
        }
        step.event(Event::TaskFailed);
        // The worker compares the attempt of its claim, which is the row's as long as it holds the lease.
        let task = step.state.task_of(worker);
        let forgiven = task.progressed && !self.lack(Mutant::FailIgnoresProgress);
        let again = forgiven || task.attempt < self.bounds.attempts || self.lack(Mutant::RetryIgnoresAttempts);
        if may_pass && again {
            if forgiven {
                (task.attempt, task.crashes) = (0, 0);
            }
            task.leave(TaskState::Ready);
            task.waits = true;
            return leave(step, worker, Answer::Retried);
        }
        step.state.task_of(worker).leave(TaskState::Failed);
        self.cancel_all(step);
        self.end(step, Status::Failed, Event::Failed);
        leave(step, worker, Answer::JobFailed);
    }

    pub(super) fn release(&self, step: &mut Step, worker: usize) {
        if !step.state.holds(worker) {
            return leave(step, worker, Answer::LeaseLost);
        }
        let task = step.state.task_of(worker);
        if task.progressed {
            (task.attempt, task.crashes) = (0, 0);
        } else {
            task.attempt -= u8::from(!self.lack(Mutant::ReleaseSpendsAttempt));
        }
        task.leave(TaskState::Ready);
        step.event(Event::TaskReleased);
        leave(step, worker, Answer::Released);
    }

    /// A result or a failure that comes after the request to cancel.
    fn give_in(&self, step: &mut Step, worker: usize) {
        self.acknowledge(step, worker);
        if step.answer == Answer::Acknowledged {
            step.answer(Answer::Cancelled);
        }
    }

    pub(super) fn acknowledge(&self, step: &mut Step, worker: usize) {
        step.transaction = Transaction::Acknowledge;
        let is_running = step.state.task_of(worker).state == TaskState::Running;
        let held = step.state.holds(worker) || is_running && self.lack(Mutant::AcknowledgeWithoutFence);
        if step.state.job.status.is_done() || !held {
            return leave(step, worker, Answer::LeaseLost);
        }
        step.state.task_of(worker).leave(TaskState::Cancelled);
        self.end_where_nobody_works(step);
        leave(step, worker, Answer::Acknowledged);
    }
}

/// The worker knows what it was told and takes something else. Where the lease is lost that is all that happens.
fn leave(step: &mut Step, worker: usize, answer: Answer) {
    step.state.workers[worker] = Worker::IDLE;
    step.answer(answer);
}
