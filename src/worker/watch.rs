//! Between the thread that computes and the one that talks to the database.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::compress::observer::Observer;
use crate::compress::train::checkpoint::RESUMED;
use crate::spec::phase::Phase;

/// A checkpoint is followed by none for so many times as long as it took to the database.
const AS_LONG: u32 = 10;

/// Events that wait for the database; more than this are dropped, oldest first.
const WAITING: usize = 1000;

/// Reason to stop a computation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The customer wants no more of the job.
    Cancelled,
    /// The lease is lost: nothing more is to be written.
    Lost,
    /// The process is stopping.
    Stopping,
}

/// Receives progress, events and checkpoints of a computation, and tells it when to stop.
#[derive(Debug)]
pub(crate) struct Watch {
    state: Mutex<State>,
    /// Interval between two checkpoints of a long step.
    keep_every: Duration,
}

#[derive(Debug)]
struct State {
    stop: Option<Reason>,
    progress: Option<(Phase, u64, u64)>,
    events: VecDeque<(String, Value)>,
    /// The last checkpoint, of this attempt or an earlier one.
    kept: Option<Arc<Vec<u8>>>,
    /// Whether what this attempt keeps is further than what earlier ones kept: there was nothing, or it has resumed from there. One that
    /// began again from the start, as the bytes were of no use to it, could crash at the same place for ever and look as if it got further.
    onward: bool,
    /// Whether it waits for the database …
    waiting: bool,
    /// … or is on its way there.
    carrying: bool,
    /// When it was made, or the watch.
    kept_at: Instant,
    /// How long there is none after it.
    pause: Duration,
}

impl Watch {
    /// For a task that keeps where it stands so often; `kept` is where an earlier attempt stood.
    pub(crate) fn new(keep_every: Duration) -> Self {
        let state = State {
            stop: None,
            progress: None,
            events: VecDeque::new(),
            kept: None,
            onward: true,
            waiting: false,
            carrying: false,
            kept_at: Instant::now(),
            pause: keep_every,
        };
        Self { state: Mutex::new(state), keep_every }
    }

    /// Checkpoint of an earlier attempt.
    pub(crate) fn begin_at(&self, kept: Option<Vec<u8>>) {
        let mut state = self.state();
        state.onward = kept.is_none();
        state.kept = kept.map(Arc::new);
    }

    /// A checkpoint that was not taken yet, and whether it is further than those of earlier attempts. The next one is not made before
    /// [`Watch::carried`].
    pub(crate) fn take_checkpoint(&self) -> Option<(Arc<Vec<u8>>, bool)> {
        let mut state = self.state();
        if !std::mem::take(&mut state.waiting) {
            return None;
        }
        state.carrying = true;
        let onward = state.onward;
        state.kept.clone().map(|bytes| (bytes, onward))
    }

    /// The checkpoint is in the database, or never will be. One that took long to get there is not made often.
    pub(crate) fn carried(&self, took: Duration) {
        let mut state = self.state();
        state.carrying = false;
        state.pause = self.keep_every.max(took * AS_LONG);
    }

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
        state.onward |= kind == RESUMED;
        if state.events.len() == WAITING {
            state.events.pop_front();
        }
        state.events.push_back((kind.to_owned(), detail));
    }

    fn wants_checkpoint(&self) -> bool {
        let state = self.state();
        // Before it gives the task back: the next one goes on from right there.
        let last = state.stop == Some(Reason::Stopping);
        !state.waiting && !state.carrying && (last || state.kept_at.elapsed() >= state.pause)
    }

    fn checkpoint(&self, bytes: Vec<u8>) {
        let mut state = self.state();
        (state.kept, state.waiting, state.kept_at) = (Some(Arc::new(bytes)), true, Instant::now());
    }

    fn kept(&self) -> Option<Vec<u8>> {
        self.state().kept.as_ref().map(|bytes| bytes.to_vec())
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
        let watch = Watch::new(Duration::ZERO);
        assert!(!watch.cancelled());
        watch.stop(Reason::Cancelled);
        watch.stop(Reason::Stopping);
        assert_eq!(watch.stopped(), Some(Reason::Cancelled));
        watch.stop(Reason::Lost);
        assert_eq!(watch.stopped(), Some(Reason::Lost));
    }

    #[test]
    fn a_checkpoint_is_wanted_when_its_time_has_come_and_the_last_one_is_carried() {
        assert!(!Watch::new(Duration::from_secs(1000)).wants_checkpoint());
        let watch = Watch::new(Duration::from_nanos(1));
        watch.begin_at(Some(vec![1]));
        assert_eq!((watch.kept(), watch.take_checkpoint()), (Some(vec![1]), None), "it is in the database already");
        assert!(watch.wants_checkpoint());
        watch.checkpoint(vec![2]);
        assert!(!watch.wants_checkpoint(), "one at a time");
        assert_eq!(watch.take_checkpoint(), Some((Arc::new(vec![2]), false)), "it did not resume from what was kept");
        assert!(!watch.wants_checkpoint() && watch.take_checkpoint().is_none(), "it is on its way");
        watch.carried(Duration::from_secs(60));
        assert_eq!((watch.kept(), watch.take_checkpoint()), (Some(vec![2]), None));
        assert!(!watch.wants_checkpoint(), "it took long");
        watch.stop(Reason::Stopping);
        assert!(watch.wants_checkpoint(), "a last one");
    }

    #[test]
    fn a_checkpoint_is_progress_from_the_start_or_after_resuming() {
        let watch = Watch::new(Duration::ZERO);
        watch.begin_at(None);
        watch.checkpoint(vec![1]);
        assert!(watch.take_checkpoint().is_some_and(|(_, onward)| onward), "there was nothing before");
        watch.begin_at(Some(vec![1]));
        watch.checkpoint(vec![2]);
        assert!(watch.take_checkpoint().is_some_and(|(_, onward)| !onward), "it began again from the start");
        watch.event(RESUMED, Value::Null);
        watch.checkpoint(vec![3]);
        assert!(watch.take_checkpoint().is_some_and(|(_, onward)| onward));
    }

    #[test]
    fn events_keep_their_order_and_progress_only_its_last_word() {
        let watch = Watch::new(Duration::ZERO);
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
