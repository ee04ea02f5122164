//! The order of a job's tasks: measure and scores, then select, finetune if requested, export.

use crate::db::tasks::TaskRow;
use crate::db::{TaskKind, TaskState};
use crate::spec::phase::Phase;

/// The next step after a task is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Other tasks of the job are still to be done first.
    Wait,
    /// Make this one.
    Task(TaskKind),
    /// Nothing is left: the job succeeded.
    Finish,
}

/// The step after a task of `kind`, given all tasks of the job as they now stand.
pub fn next(kind: TaskKind, tasks: &[TaskRow], finetunes: bool) -> Next {
    match kind {
        TaskKind::Measure | TaskKind::Score if tasks.iter().any(|task| task.state != TaskState::Done) => Next::Wait,
        TaskKind::Measure | TaskKind::Score => Next::Task(TaskKind::Select),
        TaskKind::Select if finetunes => Next::Task(TaskKind::Finetune),
        TaskKind::Select | TaskKind::Finetune => Next::Task(TaskKind::Export),
        TaskKind::Export => Next::Finish,
    }
}

/// Phase and progress (done, total) of a job with these tasks: the measurement first, then the scores by their count, then
/// the one task there is, whose own progress its worker tells.
pub fn position(tasks: &[TaskRow]) -> (Phase, i64, i64) {
    let is_done = |task: &&TaskRow| task.state == TaskState::Done;
    if let Some(latest) = tasks.iter().filter(|task| task.kind > TaskKind::Score).max_by_key(|task| task.kind) {
        return (latest.kind.phase(), 0, 0);
    }
    if tasks.iter().any(|task| task.kind == TaskKind::Measure && !is_done(&task)) {
        return (Phase::Measure, 0, 1);
    }
    let scores = tasks.iter().filter(|task| task.kind == TaskKind::Score);
    (Phase::Score, scores.clone().filter(is_done).count() as i64, scores.count() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{JobId, TaskId};

    fn task(kind: TaskKind, state: TaskState) -> TaskRow {
        let block = (kind == TaskKind::Score).then(|| "layer1.1".to_owned());
        let (id, job) = (TaskId::new(), JobId::new());
        TaskRow {
            id,
            job,
            kind,
            block,
            state,
            attempt: 1,
            crashes: 0,
            lease: 1,
            result: None,
            seconds: None,
            reused: false,
        }
    }

    #[test]
    fn selection_waits_for_the_measurement_and_every_score() {
        use TaskKind::{Measure, Score, Select};
        use TaskState::{Done, Ready, Running};
        let score_missing = [task(Measure, Done), task(Score, Done), task(Score, Running)];
        assert_eq!(next(Score, &score_missing, true), Next::Wait);
        assert_eq!(position(&score_missing), (Phase::Score, 1, 2));
        let measure_missing = [task(Measure, Ready), task(Score, Done)];
        assert_eq!(next(Score, &measure_missing, true), Next::Wait);
        assert_eq!(position(&measure_missing), (Phase::Measure, 0, 1));
        let all = [task(Measure, Done), task(Score, Done), task(Score, Done)];
        assert_eq!(next(Measure, &all, true), Next::Task(Select));
    }

    #[test]
    fn fine_tuning_is_skipped_where_it_is_not_wanted() {
        let tasks = [task(TaskKind::Select, TaskState::Done)];
        assert_eq!(next(TaskKind::Select, &tasks, true), Next::Task(TaskKind::Finetune));
        assert_eq!(next(TaskKind::Select, &tasks, false), Next::Task(TaskKind::Export));
        assert_eq!(next(TaskKind::Finetune, &tasks, true), Next::Task(TaskKind::Export));
        assert_eq!(next(TaskKind::Export, &tasks, true), Next::Finish);
    }
}
