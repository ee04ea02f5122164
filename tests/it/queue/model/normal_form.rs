//! States that differ only in what no guard can tell apart are one state.
//!
//! * Guards compare leases for equality, and claims raise them: each lease is the task's own (1) or an old one (0).
//! * Workers are interchangeable, and so are the measurement and the scores: they are sorted.
//! * The attempts and crashes of a task that has ended, the deadline of a job that is done, and what a claim's event will be called
//!   decide nothing any more.

use super::state::{Bounds, Role, SELECT, State, Task, WORKERS, Worker};

/// The representative of all states that are the same as this one.
pub fn normal_form(mut state: State, bounds: &Bounds) -> State {
    number_leases(&mut state);
    forget(&mut state);
    sort_tasks(&mut state, bounds);
    state.workers[..bounds.workers].sort_unstable();
    state
}

fn number_leases(state: &mut State) {
    for worker in &mut state.workers {
        if worker.role != Role::Idle {
            worker.lease = u8::from(worker.lease == state.tasks[usize::from(worker.task)].lease);
        }
    }
    for task in &mut state.tasks {
        task.lease = 1;
    }
}

fn forget(state: &mut State) {
    for task in state.tasks.iter_mut().filter(|task| task.state.has_ended()) {
        (task.attempt, task.crashes) = (0, 0);
    }
    for worker in &mut state.workers {
        worker.rescued = false;
    }
    state.job.late &= !state.job.status.is_done();
}

/// Sorts the tasks that can run at once by what they are and who is at them.
fn sort_tasks(state: &mut State, bounds: &Bounds) {
    let mut order = [(Task::ABSENT, [Worker::IDLE; WORKERS], 0); SELECT];
    let first = &mut order[..bounds.first_tasks];
    for (place, entry) in first.iter_mut().enumerate() {
        *entry = (state.tasks[place], at_task(state, place), place);
    }
    first.sort_unstable();
    let mut moved = [0; SELECT];
    for (place, (task, _, from)) in first.iter().enumerate() {
        state.tasks[place] = *task;
        moved[*from] = place as u8;
    }
    for worker in state.workers.iter_mut().filter(|worker| worker.role != Role::Idle) {
        if let Some(&place) = moved.get(usize::from(worker.task)) {
            worker.task = place;
        }
    }
}

fn at_task(state: &State, task: usize) -> [Worker; WORKERS] {
    let mut there = state.workers;
    for worker in &mut there {
        let is_there = worker.role != Role::Idle && usize::from(worker.task) == task;
        *worker = if is_there { Worker { task: 0, ..*worker } } else { Worker::IDLE };
    }
    there.sort_unstable();
    there
}
