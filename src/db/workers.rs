//! The registry of worker processes, for people to look at.

use sqlx::FromRow;
use time::OffsetDateTime;

use super::{Connection, DbError, TaskKind, TaskState};
use crate::ids::{JobId, Tenant, WorkerId};

/// A worker with what it is doing.
#[derive(Debug, Clone, FromRow)]
pub struct DeviceRow {
    /// The worker.
    pub id: WorkerId,
    /// Name of its host.
    pub host: String,
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// A GPU's name.
    pub device_name: Option<String>,
    /// Version of the program.
    pub version: String,
    /// When it began.
    pub started_at: OffsetDateTime,
    /// Its last sign of life.
    pub seen_at: OffsetDateTime,
    /// True where that is longer ago than a minute.
    pub silent: bool,
    /// Of the task whose lease it holds.
    pub state: Option<TaskState>,
    /// Whose job that is of.
    pub tenant: Option<Tenant>,
    /// Its job.
    pub job: Option<JobId>,
    /// What it does.
    pub kind: Option<TaskKind>,
    /// The block, for a score.
    pub block: Option<String>,
}

/// A worker begins.
///
/// # Errors
/// As [`DbError`].
pub async fn register(
    conn: &mut Connection,
    id: WorkerId,
    host: &str,
    pid: i32,
    device: &str,
    device_name: Option<&str>,
    version: &str,
) -> Result<(), DbError> {
    let register =
        sqlx::query("insert into worker (id, host, pid, device, device_name, version) values ($1, $2, $3, $4, $5, $6)");
    register.bind(id).bind(host).bind(pid).bind(device).bind(device_name).bind(version).execute(conn).await?;
    Ok(())
}

/// A sign of life.
///
/// # Errors
/// As [`DbError`].
pub async fn seen(conn: &mut Connection, id: WorkerId) -> Result<(), DbError> {
    sqlx::query("update worker set seen_at = now() where id = $1").bind(id).execute(conn).await?;
    Ok(())
}

/// A worker has ended, by itself or as seen by its supervisor.
///
/// # Errors
/// As [`DbError`].
pub async fn stopped(conn: &mut Connection, id: WorkerId) -> Result<(), DbError> {
    let stopped = sqlx::query("update worker set stopped_at = now() where id = $1 and stopped_at is null");
    stopped.bind(id).execute(conn).await?;
    Ok(())
}

/// The workers that have not ended, with what they hold; those that were not heard of for an hour are taken for gone.
///
/// # Errors
/// As [`DbError`].
pub async fn devices(conn: &mut Connection) -> Result<Vec<DeviceRow>, DbError> {
    let devices = sqlx::query_as(
        "select worker.id, host, worker.device, device_name, version, worker.started_at, seen_at,
                seen_at < now() - interval '60 seconds' as silent, task.state, job.tenant, task.job, task.kind, task.block
         from worker left join task on task.worker = worker.id and task.state = 'running' and task.lease_until >= now()
              left join job on job.id = task.job
         where stopped_at is null and seen_at > now() - interval '1 hour'
         order by worker.started_at",
    );
    Ok(devices.fetch_all(conn).await?)
}

/// Those of them that gave a sign of life in the last 60 seconds, oldest first.
///
/// # Errors
/// As [`DbError`].
pub async fn live(conn: &mut Connection) -> Result<Vec<DeviceRow>, DbError> {
    let mut live = devices(conn).await?;
    live.retain(|worker| !worker.silent);
    Ok(live)
}
