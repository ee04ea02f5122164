//! A job begins: its row, its first tasks, its first event, and the word to the workers, in the caller's transaction.

use serde_json::json;

use super::{JobsError, listen};
use crate::compress::observer::Phase;
use crate::db::jobs::NewJob;
use crate::db::{Connection, TaskKind, admin, events, jobs, tasks};

/// Inserts a job that measures its model and scores each of `blocks`. Durable once the caller commits.
///
/// # Errors
/// As [`JobsError`]; the constraints `job_uses_model_fkey` and `job_uses_images_fkey` where an input was deleted meanwhile.
pub async fn submit(conn: &mut Connection, job: &NewJob<'_>, blocks: &[&str]) -> Result<(), JobsError> {
    jobs::insert(conn, job).await?;
    tasks::insert(conn, job.id, TaskKind::Measure, &[None]).await?;
    let scored: Vec<Option<&str>> = blocks.iter().copied().map(Some).collect();
    tasks::insert(conn, job.id, TaskKind::Score, &scored).await?;
    jobs::set_phase(conn, job.id, Phase::Measure, 0, 1).await?;
    events::append(conn, job.id, "queued", &json!({ "blocks": blocks })).await?;
    admin::notify(conn, listen::TASKS, "").await?;
    Ok(())
}
