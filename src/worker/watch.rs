//! Between the thread that computes and the one that talks to the database.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::compress::observer::{Observer, Phase};

/// Events that wait for the database; more than this are dropped, oldest first.
const WAITING: usize = 1000;

/// Why a computation is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The customer wants no more of the job.
    Cancelled,
    /// The lease is lost: nothing more is to be written.
    Lost,
    /// The process is asked to end.
    Stopping,
}

/// Takes what the computation says and tells it when to stop.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    stop: Option<Reason>,
    progress: Option<(Phase, u64, u64)>,
    events: VecDeque<(String, Value)>,
}

impl Watch {
    /// Asks the computation to stop. The first reason stays, except that a lost lease overrides all others.
    pub(crate) fn stop(&self, reason: Reason) {
        let mut state = self.state();
        if state.stop.is_none() || reason == Reason::Lost {
            state.stop = Some(reason);
        }
    }

    /// Why it is to stop, if it is.
    pub(crate) fn stopped(&self) -> Option<Reason> {
        self.state().stop
    }

    /// The latest progress that was not taken yet.
    pub(crate) fn take_progress(&self) -> Option<(Phase, u64, u64)> {
        self.state().progress.take()
    }

    /// The oldest event that was not taken yet.
    pub(crate) fn take_event(&self) -> Option<(String, Value)> {
        self.state().events.pop_front()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Watch {
    fn progress(&self, phase: Phase, done: u64, total: u64) {
        self.state().progress = Some((phase, done, total));
    }

    fn event(&self, kind: &str, detail: Value) {
        let mut state = self.state();
        if state.events.len() == WAITING {
            state.events.pop_front();
        }
        state.events.push_back((kind.to_owned(), detail));
    }

    fn cancelled(&self) -> bool {
        self.stopped().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_lease_overrides_every_other_reason() {
        let watch = Watch::default();
        assert!(!watch.cancelled());
        watch.stop(Reason::Cancelled);
        watch.stop(Reason::Stopping);
        assert_eq!(watch.stopped(), Some(Reason::Cancelled));
        watch.stop(Reason::Lost);
        assert_eq!(watch.stopped(), Some(Reason::Lost));
    }

    #[test]
    fn events_keep_their_order_and_progress_only_its_last_word() {
        let watch = Watch::default();
        watch.progress(Phase::Score, 1, 3);
        watch.progress(Phase::Score, 2, 3);
        watch.event("a", Value::Null);
        watch.event("b", Value::Null);
        assert_eq!(watch.take_progress(), Some((Phase::Score, 2, 3)));
        assert_eq!(watch.take_progress(), None);
        assert_eq!(watch.take_event().map(|event| event.0).as_deref(), Some("a"));
        assert_eq!(watch.take_event().map(|event| event.0).as_deref(), Some("b"));
        assert_eq!(watch.take_event(), None);
    }
}
