//! What comes of an action.

use super::action::{Answer, Transaction};
use super::state::State;

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
    /// The column `kind`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Started => "started",
            Self::TaskStarted => "task_started",
            Self::TaskRescued => "task_rescued",
            Self::Said => "said",
            Self::TaskDone => "task_done",
            Self::TaskFailed => "task_failed",
            Self::TaskReleased => "task_released",
            Self::CancelRequested => "cancel_requested",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

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
