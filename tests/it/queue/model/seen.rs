//! What an exploration has seen besides states: every transition of a job and of a task, and every answer.

use std::collections::BTreeSet;

use super::action::{Answer, Transaction};
use super::state::{State, Status, TASKS, Task, TaskState};
use super::step::Step;

/// Where a task stands in the diagram: its state in the database, with leases that ran out apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stand {
    Absent,
    Ready,
    Running,
    RanOut,
    Done,
    Failed,
    Cancelled,
}

impl Stand {
    pub fn name(self) -> &'static str {
        match self {
            Self::Absent => "[*]",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::RanOut => "ran_out",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    fn of(task: &Task) -> Self {
        match task.state {
            TaskState::Absent => Self::Absent,
            TaskState::Ready => Self::Ready,
            TaskState::Running if task.ran_out => Self::RanOut,
            TaskState::Running => Self::Running,
            TaskState::Done => Self::Done,
            TaskState::Failed => Self::Failed,
            TaskState::Cancelled => Self::Cancelled,
        }
    }
}

/// From where, to where, by which transaction.
pub type Edge<Node> = (Node, Node, Transaction);

#[derive(Debug, Default)]
pub struct Seen {
    pub job: BTreeSet<Edge<Status>>,
    pub task: BTreeSet<Edge<Stand>>,
    pub answers: BTreeSet<(Transaction, Answer)>,
}

impl Seen {
    pub fn add(&mut self, before: &State, asked: Transaction, step: &Step) {
        let after = &step.state;
        if before.job.status != after.job.status {
            self.job.insert((before.job.status, after.job.status, step.transaction));
        }
        for task in 0..TASKS {
            let (from, to) = (&before.tasks[task], &after.tasks[task]);
            if from != to && Stand::of(from) != Stand::of(to) {
                self.task.insert((Stand::of(from), Stand::of(to), step.transaction));
            }
        }
        self.answers.insert((asked, step.answer));
    }
}
