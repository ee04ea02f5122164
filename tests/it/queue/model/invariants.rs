//! What must hold, in every state and of every step, and what must happen somewhere so that the rest is not empty talk.

use stateright::Property;

use super::action::{Action, Answer};
use super::explore::LeaseModel;
use super::rules::Rules;
use super::state::{Bounds, Role, State, Status, TASKS, Task, TaskState};
use super::step::{Event, Step};

/// What a step can do wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    OldLeaseWrote,
    LiveLeaseTaken,
    DoneJobChanged,
    EventOutOfPlace,
    ReleaseSpentAttempt,
    EndedTaskChanged,
    CrashNotCounted,
    ProgressCost,
}

/// The first rule that a step breaks.
pub fn broken(before: &State, action: Action, step: &Step) -> Option<Rule> {
    let after = &step.state;
    let wrote = (after.job, after.tasks) != (before.job, before.tasks) || !step.events.is_empty();
    let old_lease = action.by_lease_of().is_some_and(|worker| !before.holds(worker));
    let was_done = before.job.status.is_done();
    let ended_changed = (0..TASKS).any(|t| before.tasks[t].state.has_ended() && before.tasks[t] != after.tasks[t]);
    [
        (old_lease && wrote, Rule::OldLeaseWrote),
        ((0..TASKS).any(|t| is_taken(&before.tasks[t], &after.tasks[t])), Rule::LiveLeaseTaken),
        (was_done && after.job != before.job, Rule::DoneJobChanged),
        (!events_are_in_place(before, step), Rule::EventOutOfPlace),
        (step.answer == Answer::Released && !attempt_came_back(before, action, after), Rule::ReleaseSpentAttempt),
        (ended_changed, Rule::EndedTaskChanged),
        (!is_counted(before, action, after), Rule::CrashNotCounted),
        ((0..TASKS).any(|t| costs(&before.tasks[t], action, &after.tasks[t])), Rule::ProgressCost),
    ]
    .into_iter()
    .find_map(|(broken, rule)| broken.then_some(rule))
}

/// A task gets another holder although its lease had not run out.
fn is_taken(before: &Task, after: &Task) -> bool {
    before.state == TaskState::Running && !before.ran_out && after.lease != before.lease
}

/// A job that is done gets no event; one that ends now gets exactly one end, as its last.
fn events_are_in_place(before: &State, step: &Step) -> bool {
    if before.job.status.is_done() {
        return step.events.is_empty();
    }
    let ends = step.events.iter().filter(|event| event.is_an_end()).count();
    let last_is_an_end = step.events.last().copied().is_some_and(Event::is_an_end);
    let ended = step.state.job.status.is_done();
    (ends, last_is_an_end) == (usize::from(ended), ended)
}

fn attempt_came_back(before: &State, action: Action, after: &State) -> bool {
    let Some(worker) = action.by_lease_of() else { return false };
    let task = usize::from(before.workers[worker].task);
    let (before, after) = (&before.tasks[task], &after.tasks[task]);
    after.attempt < before.attempt && after.crashes <= before.crashes
}

/// A claim after a crash counts it, unless the attempt had got further; the next attempt has got nowhere yet.
fn is_counted(before: &State, action: Action, after: &State) -> bool {
    let Action::Claim(_, task) = action else { return true };
    let (before, after) = (&before.tasks[task], &after.tasks[task]);
    let crashed = before.state == TaskState::Running && !before.progressed;
    !after.progressed && (!crashed || after.crashes == before.crashes + 1)
}

/// A task that got further lost something by it.
fn costs(before: &Task, action: Action, after: &Task) -> bool {
    before.progressed
        && match after.state {
            TaskState::Ready => (after.attempt, after.crashes) != (0, 0),
            TaskState::Running => after.lease != before.lease && (after.attempt, after.crashes) != (1, 0),
            TaskState::Failed => !matches!(action, Action::Fail(_, _, false)),
            _ => false,
        }
}

/// All that is asked of every state, and what some state must show.
pub fn properties() -> Vec<Property<LeaseModel>> {
    let mut properties = vec![
        Property::<LeaseModel>::always("a write with an old lease changes nothing", |_, state| {
            state.broken != Some(Rule::OldLeaseWrote)
        }),
        Property::<LeaseModel>::always("a lease that has not run out is taken from nobody", |_, state| {
            state.broken != Some(Rule::LiveLeaseTaken)
        }),
        Property::<LeaseModel>::always("a job that is done stays as it is", |_, state| {
            state.broken != Some(Rule::DoneJobChanged)
        }),
        Property::<LeaseModel>::always("the end is the last event, and the only end", |_, state| {
            state.broken != Some(Rule::EventOutOfPlace)
        }),
        Property::<LeaseModel>::always("a release spends no attempt", |_, state| {
            state.broken != Some(Rule::ReleaseSpentAttempt)
        }),
        Property::<LeaseModel>::always("a task that has ended is never computed again", |_, state| {
            state.broken != Some(Rule::EndedTaskChanged)
        }),
        Property::<LeaseModel>::always("a crash without progress counts", |_, state| {
            state.broken != Some(Rule::CrashNotCounted)
        }),
        Property::<LeaseModel>::always("after progress neither a crash nor a failure costs anything", |_, state| {
            state.broken != Some(Rule::ProgressCost)
        }),
    ];
    properties.extend(of_states());
    properties.extend(somewhere());
    properties
}

fn of_states() -> [Property<LeaseModel>; 6] {
    [
        Property::always("a task has one holder at most", |model: &LeaseModel, state: &State| {
            (0..TASKS).all(|task| holders(&model.rules, state, task) <= 1)
        }),
        Property::always(
            "a task neither fails nor crashes more often than it may",
            |model: &LeaseModel, state: &State| {
                let Bounds { attempts, crashes, .. } = model.rules.bounds;
                state.tasks.iter().all(|task| task.attempt <= attempts && task.crashes < crashes)
            },
        ),
        Property::always("a job has one report where it succeeded, and none else", |_: &LeaseModel, state: &State| {
            state.job.reports == u8::from(state.job.status == Status::Succeeded)
        }),
        Property::always("a job that was to be cancelled ends as cancelled", |_: &LeaseModel, state: &State| {
            let job = &state.job;
            !(job.cancel_requested && job.status.is_done()) || job.status == Status::Cancelled
        }),
        Property::always("a job that is done has no live task", |_: &LeaseModel, state: &State| {
            !state.job.status.is_done() || !state.tasks.iter().any(|task| task.state.is_live())
        }),
        Property::always("a job that is not done is stuck nowhere", |model: &LeaseModel, state: &State| {
            state.job.status.is_done()
                || model.rules.is_overdue(state)
                || (0..TASKS).any(|task| goes_on(&model.rules, state, task))
        }),
    ]
}

fn holders(rules: &Rules, state: &State, task: usize) -> usize {
    let on_it = |&worker: &usize| usize::from(state.workers[worker].task) == task && state.holds(worker);
    rules.workers().filter(on_it).count()
}

/// Whether something will happen to a task by itself: it is waited for, claimed, run out of time, or swept.
fn goes_on(rules: &Rules, state: &State, task: usize) -> bool {
    let Task { state: task_state, ran_out, waits, .. } = state.tasks[task];
    match task_state {
        TaskState::Ready if waits => true,
        TaskState::Running if !ran_out => true,
        TaskState::Running if waits => {
            let waited = Task { waits: false, ..state.tasks[task] };
            let mut later = *state;
            later.tasks[task] = waited;
            rules.is_claimable(&later, task) || rules.is_exhausted(&later, task)
        }
        _ => rules.is_claimable(state, task) || rules.is_exhausted(state, task),
    }
}

fn somewhere() -> [Property<LeaseModel>; 8] {
    [
        Property::sometimes("a job succeeds", |_: &LeaseModel, state: &State| ends_as(state, Status::Succeeded)),
        Property::sometimes("a job fails", |_: &LeaseModel, state: &State| ends_as(state, Status::Failed)),
        Property::sometimes("a job is cancelled", |_: &LeaseModel, state: &State| ends_as(state, Status::Cancelled)),
        Property::sometimes("a job expires", |_: &LeaseModel, state: &State| ends_as(state, Status::Expired)),
        Property::sometimes("as many workers as can hold a task at once", |model: &LeaseModel, state: &State| {
            let Bounds { workers, first_tasks, .. } = model.rules.bounds;
            model.rules.workers().filter(|&worker| state.holds(worker)).count() == workers.min(first_tasks)
        }),
        Property::sometimes("a zombie computes beside its heir", |model: &LeaseModel, state: &State| {
            let computing = |worker: &usize| state.workers[*worker].role == Role::Working;
            let task = |worker: usize| state.workers[worker].task;
            let mut heirs = model.rules.workers().filter(computing).filter(|&heir| state.holds(heir));
            heirs.any(|heir| {
                let mut others = model.rules.workers().filter(computing);
                others.any(|other| task(other) == task(heir) && !state.holds(other))
            })
        }),
        Property::sometimes("a task that got further loses its worker", |_: &LeaseModel, state: &State| {
            state.tasks.iter().any(|task| task.progressed && task.ran_out)
        }),
        Property::sometimes("a worker whose lease ran out still holds it", |model: &LeaseModel, state: &State| {
            let ran_out = |worker: usize| state.tasks[usize::from(state.workers[worker].task)].ran_out;
            model.rules.workers().any(|worker| state.holds(worker) && ran_out(worker))
        }),
    ]
}

fn ends_as(state: &State, status: Status) -> bool {
    state.job.status == status
}
