//! The lease protocol as a model: every committed transaction of `practised::queue` is one step of a state machine, small
//! enough that every order of steps can be looked at.
//!
//! * [`state`], [`action`] and [`step`]: what the database and the workers' memories hold, what can happen, what comes of it.
//! * [`rules`], with [`worker`] and [`outside`]: when it can happen and what it does, guard by guard as the SQL has it.
//! * [`invariants`]: what must hold in every state and of every step.
//! * [`explore`] looks at every state, with workers and tasks that are interchangeable counted once ([`normal_form`]).
//! * [`mutants`] takes one guard away at a time and expects that an invariant breaks.
//! * [`conformance`] walks the model and the real functions on a real PostgreSQL side by side ([`walk`], [`rows`]).
//! * [`diagrams`] holds the diagrams of ARCHITECTURE.md to the transitions that were seen.

mod action;
mod conformance;
mod diagrams;
mod explore;
mod invariants;
mod mutants;
mod normal_form;
mod outside;
mod rows;
mod rules;
mod seen;
mod state;
mod step;
mod walk;
mod worker;
