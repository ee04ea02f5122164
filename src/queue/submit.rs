//! A job begins: its row, its first tasks, its first event, and the word to the workers, in the caller's transaction.

use serde_json::json;

use super::{QueueError, listen, scores};
use crate::db::jobs::NewJob;
use crate::db::{Connection, TaskKind, admin, events, jobs, tasks};
use crate::spec::phase::Phase;

/// Inserts a job that measures its model and scores each of `blocks`, short of those that an earlier job has scored. Durable once
/// the caller commits.
///
/// # Errors
/// As [`QueueError`]; the constraints `job_uses_model_fkey` and `job_uses_images_fkey` if an input was deleted meanwhile.
pub async fn submit(conn: &mut Connection, job: &NewJob<'_>, blocks: &[&str]) -> Result<(), QueueError> {
    jobs::insert(conn, job).await?;
    tasks::insert(conn, job.id, TaskKind::Measure, &[None]).await?;
    jobs::set_phase(conn, job.id, Phase::Measure, 0, 1).await?;
    events::append(conn, job.id, "queued", &json!({ "blocks": blocks })).await?;
    let row = jobs::find(conn, job.id).await?.ok_or(QueueError::NoSuchJob(job.id))?;
    let known = scores::known(conn, &row, blocks).await?;
    let is_known = |block: &&str| known.iter().any(|score| score.block == *block);
    let (reused, new): (Vec<&str>, Vec<&str>) = blocks.iter().partition(|block| is_known(block));
    let scored: Vec<Option<&str>> = new.into_iter().map(Some).collect();
    tasks::insert(conn, job.id, TaskKind::Score, &scored).await?;
    tasks::insert_reused(conn, job.id, &known).await?;
    if !reused.is_empty() {
        events::append(conn, job.id, "scores_reused", &json!({ "blocks": reused })).await?;
    }
    admin::notify(conn, listen::TASKS, "").await?;
    Ok(())
}
