//! Every state that the protocol can reach.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use stateright::{Checker, Model, Property};

use super::action::{Action, Answer, Transaction};
use super::invariants::{broken, properties};
use super::normal_form::normal_form;
use super::rules::Rules;
use super::seen::Seen;
use super::state::{Bounds, State};

/// The protocol as stateright takes it.
#[derive(Debug, Clone)]
pub struct LeaseModel {
    pub rules: Rules,
    pub seen: Arc<Mutex<Seen>>,
}

impl LeaseModel {
    pub fn new(rules: Rules) -> Self {
        Self { rules, seen: Arc::default() }
    }
}

impl Model for LeaseModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![normal_form(State::submitted(&self.rules.bounds), &self.rules.bounds)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.rules.actions(state, actions);
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut step = self.rules.step(before, action);
        step.state.broken = broken(before, action, &step);
        self.seen.lock().expect("nobody panics").add(before, action.transaction(), &step);
        // What changes nothing leads nowhere new.
        (step.state != *before).then(|| normal_form(step.state, &self.rules.bounds))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties()
    }
}

/// Three workers, and two tasks at once: `MODEL_TASKS=3` explores three. The real limit of attempts is three: `MODEL_ATTEMPTS=3` explores
/// that too. As many crashes show all that eight do: the first, which waits for nothing, one that waits, and the last.
fn bounds() -> Bounds {
    let asked = |name: &str| std::env::var(name).map_or(2, |number| number.parse().expect("a number"));
    let attempts = asked("MODEL_ATTEMPTS");
    Bounds { workers: 3, first_tasks: asked("MODEL_TASKS").into(), attempts, crashes: attempts, finetunes: true }
}

/// What all states together have shown, each looked at once however many tests ask.
pub fn explored() -> &'static Seen {
    static SEEN: OnceLock<Seen> = OnceLock::new();
    SEEN.get_or_init(|| {
        let started = Instant::now();
        let rules = Rules { bounds: bounds(), mutant: None };
        let checker = LeaseModel::new(rules).checker().spawn_bfs().join();
        println!(
            "lease model: {:?}: {} states, {} steps, {} deep, {:.1} s",
            rules.bounds,
            checker.unique_state_count(),
            checker.state_count(),
            checker.max_depth(),
            started.elapsed().as_secs_f64(),
        );
        checker.assert_properties();
        std::mem::take(&mut *checker.model().seen.lock().expect("nobody panics"))
    })
}

#[test]
fn the_lease_protocol_holds_in_every_state() {
    let refused = [
        (Transaction::Claim, Answer::Nothing),
        (Transaction::Begin, Answer::NotBegun),
        (Transaction::Renew, Answer::Lost),
        (Transaction::Look, Answer::Lost),
        (Transaction::Tell, Answer::NotTold),
        (Transaction::Keep, Answer::NotKept),
        (Transaction::Complete, Answer::LeaseLost),
        (Transaction::Fail, Answer::LeaseLost),
        (Transaction::Release, Answer::LeaseLost),
        (Transaction::Acknowledge, Answer::LeaseLost),
    ];
    let never: Vec<_> = refused.iter().filter(|pair| !explored().answers.contains(pair)).collect();
    assert!(never.is_empty(), "no worker that came too late was ever refused: {never:?}");
}
