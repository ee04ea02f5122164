//! Scores outlive their jobs: what was computed once for a model, its images and the same wishes is not computed again.

use serde::Deserialize;

use crate::db::jobs::JobRow;
use crate::db::scores::{self, ScoreKey, ScoreRow};
use crate::db::{Connection, image_sets};
use crate::spec::task::BlockScore;

use super::QueueError;
use crate::hash::sha256_hex;

/// What the scores of a job belong to; `None` where its wishes are of another version and cannot be read.
async fn key(conn: &mut Connection, job: &JobRow) -> Result<Option<ScoreKey>, QueueError> {
    let Ok(config) = super::config(job) else { return Ok(None) };
    let images_sha256 = match job.images {
        None => String::new(),
        Some(id) => match image_sets::get(conn, &job.tenant, id).await? {
            Some(images) => images.sha256,
            None => return Ok(None),
        },
    };
    Ok(Some(ScoreKey { model: job.model, images_sha256, wishes: sha256_hex(config.scoring().as_bytes()) }))
}

/// The scores of these blocks that earlier jobs have left for one like this.
///
/// # Errors
/// As [`QueueError`].
pub async fn known(conn: &mut Connection, job: &JobRow, blocks: &[&str]) -> Result<Vec<ScoreRow>, QueueError> {
    let Some(key) = key(conn, job).await? else { return Ok(Vec::new()) };
    let known = scores::find(conn, &key, blocks).await?.into_iter();
    Ok(known.filter_map(reused).collect())
}

/// A stored score for another job; `None` if another version has stored it and it does not read as ours.
fn reused(row: ScoreRow) -> Option<ScoreRow> {
    let score = BlockScore::deserialize(row.result).ok()?;
    Some(ScoreRow { result: serde_json::to_value(score.reused()).ok()?, ..row })
}

/// Keeps a score that this job has computed.
///
/// # Errors
/// As [`QueueError`].
pub async fn keep(
    conn: &mut Connection,
    job: &JobRow,
    block: &str,
    result: &serde_json::Value,
) -> Result<(), QueueError> {
    match key(conn, job).await? {
        Some(key) => Ok(scores::insert(conn, &key, block, result, job.id).await?),
        None => Ok(()),
    }
}
