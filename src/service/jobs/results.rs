//! What a job has found out so far, and its report.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::db::jobs::JobRow;
use crate::db::models as model_rows;
use crate::db::tasks::{self, TaskRow};
use crate::db::{TaskKind, artifacts};
use crate::ids::{JobId, Tenant};
use crate::service::{Context, ServiceError, models};
use crate::spec::report::BlockRow;
use crate::spec::task::Findings;

/// The part of a report that is about blocks.
#[derive(Deserialize)]
struct Blocks {
    blocks: Vec<BlockRow>,
}

/// Every residual addition of the job's model, with what was found out about it so far.
///
/// # Errors
/// A refusal if the job is not there; else as [`ServiceError`].
pub async fn blocks(context: &Context, tenant: &Tenant, id: JobId) -> Result<Vec<BlockRow>, ServiceError> {
    let job = super::get(context, tenant, id).await?;
    let mut conn = context.db.connection().await?;
    if let Some(report) = artifacts::report(&mut conn, id).await? {
        let report: Blocks = serde_json::from_str(&report).map_err(std::io::Error::other)?;
        return Ok(report.blocks);
    }
    let Some(model) = model_rows::get(&mut conn, &job.tenant, job.model).await? else { return Ok(Vec::new()) };
    let findings = findings(&tasks::of_job(&mut conn, id).await?);
    let infos = models::analysis(&model)?.blocks;
    Ok(infos.into_iter().map(|info| findings.row(info)).collect())
}

fn findings(tasks: &[TaskRow]) -> Findings {
    Findings {
        measured: results(tasks, TaskKind::Measure).next(),
        scores: results(tasks, TaskKind::Score).collect(),
        chosen: results(tasks, TaskKind::Select).next(),
    }
}

/// The results of the tasks of one kind. One that another version stored, and that does not read as ours, is not shown.
fn results<T: DeserializeOwned>(tasks: &[TaskRow], kind: TaskKind) -> impl Iterator<Item = T> {
    let of_kind = tasks.iter().filter(move |task| task.kind == kind);
    of_kind.filter_map(|task| T::deserialize(task.result.as_ref()?).ok())
}

/// The report as JSON text; the job alone if it has none.
///
/// # Errors
/// A refusal if the job is not there; else as [`ServiceError`].
pub async fn report(context: &Context, tenant: &Tenant, id: JobId) -> Result<(JobRow, Option<String>), ServiceError> {
    let job = super::get(context, tenant, id).await?;
    let mut conn = context.db.connection().await?;
    Ok((job, artifacts::report(&mut conn, id).await?))
}
