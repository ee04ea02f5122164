//! The registry of worker processes: it is shown in `/v1/devices`, and a task uses it to prefer another worker than the one it
//! failed on.

use sqlx::FromRow;
use time::OffsetDateTime;

use super::{Connection, DbError, TaskKind, TaskState};
use crate::ids::{JobId, Tenant, WorkerId};

/// A worker with its current task.
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
    /// True if that was more than a minute ago.
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
    /// Since when too many tasks in a row have failed on it; none if it is healthy.
    pub unhealthy_since: Option<OffsetDateTime>,
    /// Why, in words that a customer may read.
    pub unhealthy_reason: Option<String>,
}

impl DeviceRow {
    /// `ok` or `unhealthy`.
    pub fn health(&self) -> &'static str {
        if self.unhealthy_since.is_some() { "unhealthy" } else { "ok" }
    }
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

/// A worker takes its place in a slot, and with it what its predecessor there had: how many tasks in a row have failed on the slot.
///
/// # Errors
/// As [`DbError`].
pub async fn take_slot(conn: &mut Connection, id: WorkerId, slot: WorkerId) -> Result<i32, DbError> {
    let take = sqlx::query_scalar(
        "with before as (select failed_in_row, unhealthy_since, unhealthy_reason from worker
                         where slot = $2 and id <> $1 order by started_at desc limit 1)
         update worker set slot = $2, failed_in_row = coalesce((select failed_in_row from before), 0),
                unhealthy_since = (select unhealthy_since from before),
                unhealthy_reason = (select unhealthy_reason from before)
         where id = $1
         returning failed_in_row",
    );
    Ok(take.bind(id).bind(slot).fetch_one(conn).await?)
}

/// A task failed on a worker through no fault of the task's input; with `limit` of them in a row it is unhealthy. How many there are.
///
/// # Errors
/// As [`DbError`].
pub async fn failed(conn: &mut Connection, id: WorkerId, reason: &str, limit: i32) -> Result<i32, DbError> {
    let failed = sqlx::query_scalar(
        "update worker set failed_in_row = failed_in_row + 1,
                unhealthy_since = case when failed_in_row + 1 >= $3 then coalesce(unhealthy_since, now()) end,
                unhealthy_reason = case when failed_in_row + 1 >= $3
                                        then failed_in_row + 1 || ' tasks in a row failed, the last one because ' || $2 end
         where id = $1
         returning failed_in_row",
    );
    Ok(failed.bind(id).bind(reason).bind(limit).fetch_one(conn).await?)
}

/// A worker is well again.
///
/// # Errors
/// As [`DbError`].
pub async fn healed(conn: &mut Connection, id: WorkerId) -> Result<(), DbError> {
    let healed = sqlx::query(
        "update worker set failed_in_row = 0, unhealthy_since = null, unhealthy_reason = null
         where id = $1 and failed_in_row > 0",
    );
    healed.bind(id).execute(conn).await?;
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
                seen_at < now() - interval '60 seconds' as silent, task.state, job.tenant, task.job, task.kind, task.block,
                unhealthy_since, unhealthy_reason
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
