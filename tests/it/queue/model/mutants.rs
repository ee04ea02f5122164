//! The model with one guard taken away: an invariant has to break, or the model would not notice if the code lost it.

use stateright::{Checker, HasDiscoveries, Model};

use super::explore::LeaseModel;
use super::rules::Rules;
use super::state::Bounds;

/// What is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    ClaimTakesLiveLease,
    ClaimTakesDoneTask,
    ClaimIgnoresCrashes,
    ClaimCountsNoCrash,
    ClaimKeepsProgress,
    ClaimKeepsLeaseNumber,
    CrashIgnoresProgress,
    FailIgnoresProgress,
    SweepIgnoresProgress,
    KeepWithoutFence,
    BeginWithoutFence,
    RenewWithoutFence,
    TellWithoutFence,
    CompleteWithoutFence,
    CompleteIgnoresCancel,
    FlowMissesTheLastTask,
    ReportInItsOwnTransaction,
    FailIgnoresCancel,
    RetryIgnoresAttempts,
    ReleaseSpendsAttempt,
    AcknowledgeWithoutFence,
    DeathTakesLeaseOfHeir,
    CancelDoesNotLock,
    NobodySweepsExhausted,
    SweepIgnoresCancel,
    EndSparesRunningTasks,
}

/// Each with the invariant that breaks.
const MUTANTS: &[(Mutant, &str)] = &[
    (Mutant::ClaimTakesLiveLease, "a lease that has not run out is taken from nobody"),
    (Mutant::ClaimTakesDoneTask, "a task that has ended is never computed again"),
    (Mutant::ClaimIgnoresCrashes, TOO_OFTEN),
    (Mutant::ClaimCountsNoCrash, COUNTED),
    (Mutant::ClaimKeepsProgress, COUNTED),
    (Mutant::CrashIgnoresProgress, FREE),
    (Mutant::FailIgnoresProgress, FREE),
    (Mutant::SweepIgnoresProgress, FREE),
    (Mutant::KeepWithoutFence, OLD_LEASE),
    (Mutant::ClaimKeepsLeaseNumber, "a task has one holder at most"),
    (Mutant::BeginWithoutFence, OLD_LEASE),
    (Mutant::RenewWithoutFence, OLD_LEASE),
    (Mutant::TellWithoutFence, OLD_LEASE),
    (Mutant::CompleteWithoutFence, OLD_LEASE),
    (Mutant::AcknowledgeWithoutFence, OLD_LEASE),
    (Mutant::DeathTakesLeaseOfHeir, OLD_LEASE),
    (Mutant::CompleteIgnoresCancel, CANCELLED),
    (Mutant::FailIgnoresCancel, CANCELLED),
    (Mutant::SweepIgnoresCancel, CANCELLED),
    (Mutant::FlowMissesTheLastTask, STUCK),
    (Mutant::RetryIgnoresAttempts, TOO_OFTEN),
    (Mutant::NobodySweepsExhausted, STUCK),
    (Mutant::ReportInItsOwnTransaction, "a job has one report where it succeeded, and none else"),
    (Mutant::ReleaseSpendsAttempt, "a release spends no attempt"),
    (Mutant::CancelDoesNotLock, "a job that is done stays as it is"),
    (Mutant::EndSparesRunningTasks, "a job that is done has no live task"),
];

const OLD_LEASE: &str = "a write with an old lease changes nothing";
const CANCELLED: &str = "a job that was to be cancelled ends as cancelled";
const TOO_OFTEN: &str = "a task neither fails nor crashes more often than it may";
const COUNTED: &str = "a crash without progress counts";
const FREE: &str = "after progress neither a crash nor a failure costs anything";
const STUCK: &str = "a job that is not done is stuck nowhere";

#[test]
fn the_lease_model_misses_every_guard_that_is_taken_away() {
    // Two workers and two tasks at once are enough for each of them; one task where it takes a fine-tuning.
    let bounds = Bounds { workers: 2, first_tasks: 2, attempts: 2, crashes: 2, finetunes: false };
    for &(mutant, invariant) in MUTANTS {
        let of_progress = matches!(mutant, Mutant::ClaimKeepsProgress | Mutant::KeepWithoutFence) || invariant == FREE;
        let bounds = if of_progress { Bounds { first_tasks: 1, finetunes: true, ..bounds } } else { bounds };
        let rules = Rules { bounds, mutant: Some(mutant) };
        let checker = LeaseModel::new(rules).checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
        let way =
            checker.discovery(invariant).unwrap_or_else(|| panic!("{mutant:?}: nothing breaks, or not {invariant:?}"));
        println!("lease model: {mutant:?} breaks {invariant:?}: {:?}", way.into_actions());
    }
    println!("lease model: {} mutants, all caught", MUTANTS.len());
}
