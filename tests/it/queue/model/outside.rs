//! What happens to a job from outside its workers: `cancel::request`, `rescue::{sweep, worker_died}`, and how a job ends.

use super::action::Answer;
use super::mutants::Mutant;
use super::rules::Rules;
use super::state::{State, Status, TaskState, Worker};
use super::step::{Event, Step};

impl Rules {
    pub(super) fn worker_died(&self, step: &mut Step, worker: usize) {
        let is_running = step.state.task_of(worker).state == TaskState::Running;
        if step.state.holds(worker) || is_running && self.lack(Mutant::DeathTakesLeaseOfHeir) {
            step.state.task_of(worker).run_out();
        }
        self.replace(step, worker);
    }

    pub(super) fn replace(&self, step: &mut Step, worker: usize) {
        step.state.workers[worker] = Worker::IDLE;
    }

    pub(super) fn request_cancel(&self, step: &mut Step) {
        match step.state.job.status {
            Status::Cancelled => return step.answer(Answer::Cancelled),
            status if status.is_done() => return step.answer(Answer::EndedOtherwise),
            _ => {}
        }
        if self.lack(Mutant::CancelDoesNotLock) && !step.state.any_held() {
            step.state.job.half_cancelled = true;
            return;
        }
        if !std::mem::replace(&mut step.state.job.cancel_requested, true) {
            step.event(Event::CancelRequested);
        }
        let ended = self.end_where_nobody_works(step);
        step.answer(if ended { Answer::Cancelled } else { Answer::Requested });
    }

    /// Acts on what was read before, as only a request without the lock can.
    pub(super) fn finish_cancel(&self, step: &mut Step) {
        step.state.job.half_cancelled = false;
        step.state.job.cancel_requested = true;
        self.cancel_all(step);
        self.end(step, Status::Cancelled, Event::Cancelled);
        step.answer(Answer::Cancelled);
    }

    /// `tasks::exhausted` and the guard of `tasks::fail_expired`: both look at the same row and lease.
    pub fn is_exhausted(&self, state: &State, task: usize) -> bool {
        let task = &state.tasks[task];
        let is_out = task.state == TaskState::Running && task.ran_out && task.crashes + 1 >= self.bounds.crashes;
        let got_further = task.progressed && !self.lack(Mutant::SweepIgnoresProgress);
        is_out && !got_further && !state.job.status.is_done() && !self.lack(Mutant::NobodySweepsExhausted)
    }

    pub(super) fn sweep_exhausted(&self, step: &mut Step, task: usize) {
        step.state.tasks[task].leave(TaskState::Failed);
        step.answer(Answer::Swept);
        if step.state.job.cancel_requested && !self.lack(Mutant::SweepIgnoresCancel) {
            self.cancel_all(step);
            return self.end(step, Status::Cancelled, Event::Cancelled);
        }
        step.event(Event::TaskFailed);
        self.cancel_all(step);
        self.end(step, Status::Failed, Event::Failed);
    }

    /// `jobs::overdue`; how long ago the request to cancel was is left to time.
    pub fn is_overdue(&self, state: &State) -> bool {
        !state.job.status.is_done() && (state.job.late || state.job.cancel_requested)
    }

    pub(super) fn sweep_overdue(&self, step: &mut Step) {
        step.answer(Answer::Swept);
        self.cancel_all(step);
        if step.state.job.cancel_requested {
            self.end(step, Status::Cancelled, Event::Cancelled);
        } else {
            self.end(step, Status::Expired, Event::Expired);
        }
    }

    pub(super) fn end_where_nobody_works(&self, step: &mut Step) -> bool {
        let ends = !step.state.any_held();
        if ends {
            self.cancel_all(step);
            self.end(step, Status::Cancelled, Event::Cancelled);
        }
        ends
    }

    pub(super) fn cancel_all(&self, step: &mut Step) {
        let spared = self.lack(Mutant::EndSparesRunningTasks).then_some(TaskState::Running);
        for task in step.state.tasks.iter_mut().filter(|task| task.state.is_live() && Some(task.state) != spared) {
            task.leave(TaskState::Cancelled);
        }
    }

    /// The job's last event and its status, in that order.
    pub(super) fn end(&self, step: &mut Step, status: Status, event: Event) {
        step.event(event);
        step.state.job.status = status;
    }
}
