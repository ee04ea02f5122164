//! *export*: the student's file, read back and verified, and the report: what the customer gets.

use std::collections::BTreeMap;

use super::finetune::{BEFORE, REFIT, STUDENT};
use super::{Failure, select};
use crate::blobs;
use crate::compress::observer::Observer;
use crate::compress::pipeline::{self, Bench, Costs, Exported, Finetuned, Selection};
use crate::db::tasks::TaskRow;
use crate::db::{Db, JobOutcome, TaskKind, tasks};
use crate::queue::claimed::Claim;
use crate::queue::complete::{Done, File, Finished};
use crate::queue::{self, QueueError};
use crate::spec::phase::Phase;
use crate::spec::report::Outcome;

/// What was found out and made before.
pub(in crate::worker) struct Input {
    found: select::Input,
    selection: Selection,
    finetuned: Option<Finetuned>,
    costs: Costs,
}

impl Input {
    pub(super) async fn fetch(db: &Db, claim: &Claim, before: &[TaskRow]) -> Result<Self, QueueError> {
        let finetuned = match super::results(before, TaskKind::Finetune)?.pop() {
            Some(summary) => Some(Finetuned {
                summary,
                student: needed(db, claim, STUDENT).await?,
                before_finetune: needed(db, claim, BEFORE).await?,
                refit: blob(db, claim, REFIT).await?,
            }),
            None => None,
        };
        let (found, selection) = (select::Input::from(before)?, super::result(before, TaskKind::Select)?);
        Ok(Self { found, selection, finetuned, costs: costs(before) })
    }
}

async fn needed(db: &Db, claim: &Claim, name: &str) -> Result<Vec<u8>, QueueError> {
    blob(db, claim, name).await?.ok_or_else(|| super::missing(name))
}

/// Bytes that fine-tuning has left; `None` if it left none under this name.
async fn blob(db: &Db, claim: &Claim, name: &str) -> Result<Option<Vec<u8>>, QueueError> {
    let mut conn = db.connection().await?;
    let sha256 = tasks::blob(&mut conn, claim.job, TaskKind::Finetune, name).await?;
    let owner = queue::tenant(&mut conn, claim.job).await?;
    drop(conn);
    match sha256 {
        Some(sha256) => Ok(Some(blobs::read(db, &owner, &sha256).await?)),
        None => Ok(None),
    }
}

/// Seconds that the tasks before this one took; scores may have run side by side.
fn costs(before: &[TaskRow]) -> Costs {
    let mut phases: BTreeMap<Phase, f64> = BTreeMap::new();
    for task in before {
        if let Some(seconds) = task.seconds {
            *phases.entry(task.kind.phase()).or_default() += seconds;
        }
    }
    let reused_scores = before.iter().filter(|task| task.reused).count();
    Costs { phases, reused_scores }
}

pub(super) fn run(bench: &Bench, input: &Input, obs: &dyn Observer) -> Result<Done, Failure> {
    let made;
    let finetuned = match &input.finetuned {
        Some(finetuned) => finetuned,
        // No fine-tuning was wanted: the student is what is left after dropping.
        None => {
            made = pipeline::finetune(bench, &input.selection, obs)?;
            &made
        }
    };
    let select::Input { measured, scores } = &input.found;
    let (summary, students) = (&finetuned.summary, finetuned.students());
    let Exported { report, artifacts } =
        pipeline::export(bench, measured, scores, &input.selection, summary, students, &input.costs, obs)?;
    let outcome = match report.outcome {
        Outcome::TargetMet => JobOutcome::TargetMet,
        Outcome::TargetUnreachable => JobOutcome::TargetUnreachable,
        Outcome::QualityFloorHit => JobOutcome::QualityFloorHit,
    };
    let text = serde_json::to_string(&report)?;
    let artifacts =
        artifacts.into_iter().map(|file| File { name: file.name, media_type: file.media_type, bytes: file.bytes });
    let last = Finished { outcome, report: text, artifacts: artifacts.collect() };
    let names: Vec<&str> = last.artifacts.iter().map(|file| file.name.as_str()).collect();
    Ok(Done { result: serde_json::json!({ "artifacts": names }), blobs: Vec::new(), last: Some(last) })
}
