//! Tasks and their leases.
//!
//! A claim (`claims`) raises the task's lease number. Every later write of that worker names the number and touches nothing once
//! another claim raised it. Time is the database's alone.

use serde_json::Value;
use sqlx::FromRow;

use super::scores::ScoreRow;
use super::{Connection, DbError, TaskKind, TaskState};
use crate::ids::{JobId, TaskId, WorkerId};

/// A task that waits, runs or ended.
#[derive(Debug, Clone, FromRow)]
pub struct TaskRow {
    /// Primary key.
    pub id: TaskId,
    /// Its job.
    pub job: JobId,
    /// What it does.
    pub kind: TaskKind,
    /// The block, for a score.
    pub block: Option<String>,
    /// Where it stands.
    pub state: TaskState,
    /// How often it failed in a row without progress, with the attempt that runs.
    pub attempt: i32,
    /// How often it lost its worker in a row without progress, before the attempt that runs.
    pub crashes: i32,
    /// Fence of the last claim.
    pub lease: i64,
    /// What came of it.
    pub result: Option<Value>,
    /// Seconds that the attempt that succeeded took.
    pub seconds: Option<f64>,
    /// Whether its result was there before its job came.
    pub reused: bool,
}

/// Inserts tasks of one kind: one without a block, or one for each of `blocks`.
///
/// # Errors
/// As [`DbError`].
pub async fn insert(conn: &mut Connection, job: JobId, kind: TaskKind, blocks: &[Option<&str>]) -> Result<(), DbError> {
    let ids: Vec<TaskId> = blocks.iter().map(|_| TaskId::new()).collect();
    let insert = sqlx::query(
        "insert into task (id, job, kind, block)
         select id, $1, $2, block from unnest($3::uuid[], $4::text[]) as given (id, block)",
    );
    insert.bind(job).bind(kind).bind(ids).bind(blocks).execute(conn).await?;
    Ok(())
}

/// Inserts the tasks of scores that are there already.
///
/// # Errors
/// As [`DbError`].
pub async fn insert_reused(conn: &mut Connection, job: JobId, scores: &[ScoreRow]) -> Result<(), DbError> {
    let ids: Vec<TaskId> = scores.iter().map(|_| TaskId::new()).collect();
    let (blocks, results): (Vec<&str>, Vec<&Value>) =
        scores.iter().map(|score| (score.block.as_str(), &score.result)).unzip();
    let insert = sqlx::query(
        "insert into task (id, job, kind, block, state, result, reused, finished_at)
         select id, $1, 'score', block, 'done', result, true, now()
         from unnest($2::uuid[], $3::text[], $4::jsonb[]) as given (id, block, result)",
    );
    insert.bind(job).bind(ids).bind(blocks).bind(results).execute(conn).await?;
    Ok(())
}

/// Extends a lease from now. `None` where it is lost, else whether the job is to stop.
///
/// # Errors
/// As [`DbError`].
pub async fn renew(
    conn: &mut Connection,
    task: TaskId,
    lease: i64,
    lease_seconds: f64,
) -> Result<Option<bool>, DbError> {
    let renew = sqlx::query_scalar(
        "update task set lease_until = now() + make_interval(secs => $3)
         where id = $1 and lease = $2 and state = 'running'
         returning (select cancel_requested_at is not null from job where job.id = task.job)",
    );
    Ok(renew.bind(task).bind(lease).bind(lease_seconds).fetch_optional(conn).await?)
}

/// The same look without extending anything.
///
/// # Errors
/// As [`DbError`].
pub async fn look(conn: &mut Connection, task: TaskId, lease: i64) -> Result<Option<bool>, DbError> {
    let look = sqlx::query_scalar(
        "select job.cancel_requested_at is not null from task join job on job.id = task.job
         where task.id = $1 and task.lease = $2 and task.state = 'running'",
    );
    Ok(look.bind(task).bind(lease).fetch_optional(conn).await?)
}

/// Stores a result. False where the lease is lost.
///
/// # Errors
/// As [`DbError`].
pub async fn complete(conn: &mut Connection, task: TaskId, lease: i64, result: &Value) -> Result<bool, DbError> {
    let complete = sqlx::query(
        "update task set state = 'done', result = $3, lease_until = null, finished_at = clock_timestamp()
         where id = $1 and lease = $2 and state = 'running'",
    );
    Ok(complete.bind(task).bind(lease).bind(result).execute(conn).await?.rows_affected() == 1)
}

/// Whether the attempt has got further than all before it, in a way that lasts. `None` where the lease is lost; the task's row is held
/// until the transaction ends.
///
/// # Errors
/// As [`DbError`].
pub async fn has_progressed(conn: &mut Connection, task: TaskId, lease: i64) -> Result<Option<bool>, DbError> {
    let progressed =
        sqlx::query_scalar("select progressed from task where id = $1 and lease = $2 and state = 'running' for update");
    Ok(progressed.bind(task).bind(lease).fetch_optional(conn).await?)
}

/// Puts a task that failed back, to be claimed again after a while. After progress nothing that failed before counts. False where the
/// lease is lost.
///
/// # Errors
/// As [`DbError`].
pub async fn retry(conn: &mut Connection, task: TaskId, lease: i64, wait_seconds: f64) -> Result<bool, DbError> {
    let retry = sqlx::query(
        "update task set state = 'ready', lease_until = null, run_after = now() + make_interval(secs => $3),
                attempt = case when progressed then 0 else attempt end,
                crashes = case when progressed then 0 else crashes end, progressed = false,
                failed_on = (select coalesce(slot, id) from worker where id = task.worker)
         where id = $1 and lease = $2 and state = 'running'",
    );
    Ok(retry.bind(task).bind(lease).bind(wait_seconds).execute(conn).await?.rows_affected() == 1)
}

/// Gives a task back unharmed, to be claimed again after `wait_seconds`: the attempt does not count. If it is given back because of the
/// worker, others come first. False if the lease is lost.
///
/// # Errors
/// As [`DbError`].
pub async fn release(
    conn: &mut Connection,
    task: TaskId,
    lease: i64,
    others_first: bool,
    wait_seconds: f64,
) -> Result<bool, DbError> {
    let release = sqlx::query(
        "update task set state = 'ready', lease_until = null, run_after = now() + make_interval(secs => $4),
                attempt = case when progressed then 0 else attempt - 1 end,
                crashes = case when progressed then 0 else crashes end, progressed = false,
                failed_on = case when $3 then (select coalesce(slot, id) from worker where id = task.worker)
                                 else failed_on end
         where id = $1 and lease = $2 and state = 'running'",
    );
    Ok(release.bind(task).bind(lease).bind(others_first).bind(wait_seconds).execute(conn).await?.rows_affected() == 1)
}

/// Ends a task whose job ends with it. False where the lease is lost.
///
/// # Errors
/// As [`DbError`].
pub async fn end(conn: &mut Connection, task: TaskId, lease: i64, state: TaskState) -> Result<bool, DbError> {
    let end = sqlx::query(
        "update task set state = $3, lease_until = null, finished_at = clock_timestamp()
         where id = $1 and lease = $2 and state = 'running'",
    );
    Ok(end.bind(task).bind(lease).bind(state).execute(conn).await?.rows_affected() == 1)
}

/// Ends all tasks of a job that have not ended; their leases are void from now on. How many.
///
/// # Errors
/// As [`DbError`].
pub async fn cancel_all(conn: &mut Connection, job: JobId) -> Result<u64, DbError> {
    let cancel = sqlx::query(
        "update task set state = 'cancelled', lease_until = null, finished_at = clock_timestamp()
         where job = $1 and state in ('ready', 'running')",
    );
    Ok(cancel.bind(job).execute(conn).await?.rows_affected())
}

/// True while some worker holds a live lease on a task of the job.
///
/// # Errors
/// As [`DbError`].
pub async fn any_held(conn: &mut Connection, job: JobId) -> Result<bool, DbError> {
    let held = sqlx::query_scalar(
        "select exists (select from task where job = $1 and state = 'running' and lease_until >= now())",
    );
    Ok(held.bind(job).fetch_one(conn).await?)
}

/// The tasks of a job in their order.
///
/// # Errors
/// As [`DbError`].
pub async fn of_job(conn: &mut Connection, job: JobId) -> Result<Vec<TaskRow>, DbError> {
    let tasks = sqlx::query_as(
        "select id, job, kind, block, state, attempt, crashes, lease, result, reused,
                extract(epoch from finished_at - started_at)::double precision as seconds
         from task where job = $1 order by kind, id",
    );
    Ok(tasks.bind(job).fetch_all(conn).await?)
}

/// Tasks that lost their worker too often in a row without progress: nobody will claim them again.
///
/// # Errors
/// As [`DbError`].
pub async fn exhausted(conn: &mut Connection, max_crashes: i32) -> Result<Vec<TaskRow>, DbError> {
    let tasks = sqlx::query_as(
        "select id, job, kind, block, state, attempt, crashes, lease, result, reused, null::double precision as seconds
         from task where state = 'running' and lease_until < now() and not progressed and crashes + 1 >= $1",
    );
    Ok(tasks.bind(max_crashes).fetch_all(conn).await?)
}

/// Ends a task whose lease ran out. False where somebody renewed or claimed it meanwhile, or its worker came back and got further.
///
/// # Errors
/// As [`DbError`].
pub async fn fail_expired(conn: &mut Connection, task: TaskId, lease: i64) -> Result<bool, DbError> {
    let fail = sqlx::query(
        "update task set state = 'failed', lease_until = null, finished_at = clock_timestamp()
         where id = $1 and lease = $2 and state = 'running' and lease_until < now() and not progressed",
    );
    Ok(fail.bind(task).bind(lease).execute(conn).await?.rows_affected() == 1)
}

/// True where a worker has done a task.
///
/// # Errors
/// As [`DbError`].
pub async fn any_done_by(conn: &mut Connection, worker: WorkerId) -> Result<bool, DbError> {
    let done = sqlx::query_scalar("select exists (select from task where worker = $1 and state = 'done')");
    Ok(done.bind(worker).fetch_one(conn).await?)
}

/// Lets the leases of a worker run out now, because its process is known to be dead. How many.
///
/// # Errors
/// As [`DbError`].
pub async fn expire_of_worker(conn: &mut Connection, worker: WorkerId) -> Result<u64, DbError> {
    let expire = sqlx::query(
        "update task set lease_until = now() - interval '1 microsecond'
         where worker = $1 and state = 'running' and lease_until >= now()",
    );
    Ok(expire.bind(worker).execute(conn).await?.rows_affected())
}

/// Notes bytes that a task leaves for the next; the blob is there already.
///
/// # Errors
/// As [`DbError`].
pub async fn insert_blob(conn: &mut Connection, task: TaskId, name: &str, sha256: &str) -> Result<(), DbError> {
    let insert = sqlx::query(
        "insert into task_blob (task, name, sha256, tenant)
         select $1, $2, $3, job.tenant from task join job on job.id = task.job where task.id = $1",
    );
    insert.bind(task).bind(name).bind(sha256).execute(conn).await?;
    Ok(())
}

/// Notes bytes in the place of those that a running task had under this name, and tells the hash of these; the blob is there
/// already. `onward` says that they are further than what any attempt kept before, which counts as progress. `None` where the lease is
/// lost: the task's row is held until the transaction ends, so that it cannot be lost after.
///
/// # Errors
/// As [`DbError`].
pub async fn replace_blob(
    conn: &mut Connection,
    task: TaskId,
    lease: i64,
    (name, sha256): (&str, &str),
    onward: bool,
) -> Result<Option<Option<String>>, DbError> {
    let held =
        sqlx::query("update task set progressed = progressed or $3 where id = $1 and lease = $2 and state = 'running'");
    if held.bind(task).bind(lease).bind(onward).execute(&mut *conn).await?.rows_affected() == 0 {
        return Ok(None);
    }
    let before = blob_of(conn, task, name).await?;
    let replace = sqlx::query(
        "insert into task_blob (task, name, sha256, tenant)
         select $1, $2, $3, job.tenant from task join job on job.id = task.job where task.id = $1
         on conflict (task, name) do update set sha256 = excluded.sha256",
    );
    replace.bind(task).bind(name).bind(sha256).execute(conn).await?;
    Ok(Some(before))
}

/// Hash of the bytes that a task has under this name.
///
/// # Errors
/// As [`DbError`].
pub async fn blob_of(conn: &mut Connection, task: TaskId, name: &str) -> Result<Option<String>, DbError> {
    let blob = sqlx::query_scalar("select sha256 from task_blob where task = $1 and name = $2");
    Ok(blob.bind(task).bind(name).fetch_optional(conn).await?)
}

/// Hash of the bytes that a task of this kind left under this name.
///
/// # Errors
/// As [`DbError`].
pub async fn blob(conn: &mut Connection, job: JobId, kind: TaskKind, name: &str) -> Result<Option<String>, DbError> {
    let blob = sqlx::query_scalar(
        "select task_blob.sha256 from task_blob join task on task.id = task_blob.task
         where task.job = $1 and task.kind = $2 and task.state = 'done' and task_blob.name = $3",
    );
    Ok(blob.bind(job).bind(kind).bind(name).fetch_optional(conn).await?)
}

/// Lets go of the bytes between the tasks of a job that is done; how many.
///
/// # Errors
/// As [`DbError`].
pub async fn delete_blobs_of_done_jobs(conn: &mut Connection) -> Result<u64, DbError> {
    let delete = sqlx::query(
        "delete from task_blob using task, job
         where task.id = task_blob.task and job.id = task.job and job.finished_at is not null",
    );
    Ok(delete.execute(conn).await?.rows_affected())
}
