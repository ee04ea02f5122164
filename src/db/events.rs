//! What happened to a job, in a sequence without gaps.

use serde_json::Value;
use sqlx::FromRow;
use time::OffsetDateTime;

use super::{Connection, DbError};
use crate::ids::{JobId, TaskId};

/// A row of `event`.
#[derive(Debug, Clone, FromRow)]
pub struct EventRow {
    /// From 1, without a gap.
    pub seq: i64,
    /// What happened.
    pub kind: String,
    /// Its particulars.
    pub detail: Value,
    /// When.
    pub created_at: OffsetDateTime,
}

/// Appends an event to a job that is not done. The number comes from the job's row, whose lock makes it gap-free. False if the
/// job is done.
///
/// # Errors
/// As [`DbError`].
pub async fn append(conn: &mut Connection, job: JobId, kind: &str, detail: &Value) -> Result<bool, DbError> {
    let append = sqlx::query(
        "with numbered as (
             update job set last_event = last_event + 1 where id = $1 and finished_at is null returning last_event
         )
         insert into event (job, seq, kind, detail) select $1, last_event, $2, $3 from numbered",
    );
    Ok(append.bind(job).bind(kind).bind(detail).execute(conn).await?.rows_affected() == 1)
}

/// The same for a worker's events: only while it holds the lease.
///
/// # Errors
/// As [`DbError`].
pub async fn append_fenced(
    conn: &mut Connection,
    task: TaskId,
    lease: i64,
    kind: &str,
    detail: &Value,
) -> Result<bool, DbError> {
    let append = sqlx::query(
        "with numbered as (
             update job set last_event = last_event + 1
             where finished_at is null
               and id = (select job from task where id = $1 and lease = $2 and state = 'running')
             returning id, last_event
         )
         insert into event (job, seq, kind, detail) select id, last_event, $3, $4 from numbered",
    );
    Ok(append.bind(task).bind(lease).bind(kind).bind(detail).execute(conn).await?.rows_affected() == 1)
}

/// A job's events behind `after`, in order, at most `limit`.
///
/// # Errors
/// As [`DbError`].
pub async fn list(conn: &mut Connection, job: JobId, after: i64, limit: i64) -> Result<Vec<EventRow>, DbError> {
    let list = sqlx::query_as(
        "select seq, kind, detail, created_at from event where job = $1 and seq > $2 order by seq limit $3",
    );
    Ok(list.bind(job).bind(after).bind(limit).fetch_all(conn).await?)
}
