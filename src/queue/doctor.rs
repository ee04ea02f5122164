//! Checks the whole database: runs the periodic clean-up, then checks every invariant.

use serde::Serialize;

use super::{QueueError, rescue};
use crate::db::Db;
use crate::db::invariants::{self, Breach, INVARIANTS};

/// What was found.
#[derive(Debug, Serialize)]
pub struct Diagnosis {
    /// How many invariants were asked after.
    pub invariants: usize,
    /// Jobs that were to be ended, and now are: their deadline has passed, or their task lost its last worker.
    pub ended_jobs: u64,
    /// Violated invariants; empty if all hold.
    pub findings: Vec<Finding>,
}

/// An invariant that does not hold.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// Its short name.
    pub invariant: &'static str,
    /// What ought to hold.
    pub sentence: &'static str,
    /// What breaks it.
    pub breaches: Vec<Breach>,
}

/// Sweeps, tidies, and looks.
///
/// # Errors
/// As [`QueueError`].
pub async fn examine(db: &Db) -> Result<Diagnosis, QueueError> {
    let ended_jobs = rescue::sweep(db).await?;
    rescue::tidy(db).await?;
    let broken = invariants::breaches(db).await?.into_iter();
    let findings = broken.map(|(invariant, breaches)| Finding {
        invariant: invariant.name,
        sentence: invariant.sentence,
        breaches,
    });
    Ok(Diagnosis { invariants: INVARIANTS.len(), ended_jobs, findings: findings.collect() })
}
