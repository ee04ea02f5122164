//! What a client reads again and again while it waits: a job, and how many of its tenant's jobs go before it.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::FromRow;

use super::claims::class;
use super::jobs::{JobRow, job_columns};
use super::shared_reads::SharedRead;
use super::{Connection, Db, DbError};
use crate::ids::{JobId, Tenant};

/// Positions are counted up to here. A job further back has this one.
pub const MOST_AHEAD: i64 = 200;

/// A job as a poll shows it.
#[derive(Debug, Clone, FromRow)]
pub struct PollRow {
    /// The job.
    #[sqlx(flatten)]
    pub job: JobRow,
    /// How many queued jobs of the same tenant go before it, [`MOST_AHEAD`] at most; `None` if it is not queued. Jobs of other
    /// tenants are not counted: how many there are is not for this tenant to know.
    pub queue_position: Option<i64>,
}

/// Key of a poll: a job of a tenant, and the seconds in which waiting jobs rise by one class.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PollKey {
    tenant: Tenant,
    id: JobId,
    rise_seconds: u32,
}

/// For each tenant that waits, the first of its queue are read once, however many of its jobs are asked for. Of each priority the
/// oldest go first, so they are among the oldest of each.
const POLL: &str = concat!(
    "with wanted as (select id, tenant from unnest($1::uuid[], $2::text[]) as wanted (id, tenant)),
     found as materialized (select ",
    job_columns!(),
    " from wanted join job using (id, tenant)),
     ahead as (
         select first.id, row_number() over (partition by first.tenant order by first.class desc, first.created_at, first.id)
                          - 1 as place
         from (select distinct tenant from found where status = 'queued') as waiting
         cross join lateral (
             select job.id, job.tenant, job.created_at, ",
    class!("$3"),
    "        as class
             from unnest(enum_range(null::job_priority)) as one (priority)
             cross join lateral (
                 select id, tenant, created_at, job.priority from job
                 where job.tenant = waiting.tenant and job.status = 'queued' and job.priority = one.priority
                 order by job.created_at, job.id limit $4
             ) as job
             order by class desc, job.created_at, job.id limit $4
         ) as first
     )
     select found.*, case when found.status = 'queued' then coalesce(ahead.place, $4) end as queue_position
     from found left join ahead using (id)"
);

impl SharedRead for PollKey {
    /// Shared by all that ask for the same job at the same moment.
    type Row = Arc<PollRow>;

    async fn fetch(conn: &mut Connection, keys: &[Self]) -> Result<HashMap<Self, Arc<PollRow>>, DbError> {
        let ids: Vec<JobId> = keys.iter().map(|key| key.id).collect();
        let tenants: Vec<&str> = keys.iter().map(|key| key.tenant.as_str()).collect();
        let rise_seconds = keys.first().map_or(0, |key| key.rise_seconds);
        let poll = sqlx::query_as(POLL).bind(ids).bind(tenants).bind(f64::from(rise_seconds)).bind(MOST_AHEAD);
        let rows: Vec<PollRow> = poll.fetch_all(conn).await?;
        let keyed =
            |row: PollRow| (Self { tenant: row.job.tenant.clone(), id: row.job.id, rise_seconds }, Arc::new(row));
        Ok(rows.into_iter().map(keyed).collect())
    }
}

impl Db {
    /// A job of a tenant with its position in the tenant's queue, in which jobs rise by one class per `rise_seconds`; `None` if
    /// there is no such job. Concurrent polls share a statement.
    ///
    /// # Errors
    /// As [`DbError`].
    pub async fn poll(&self, tenant: &Tenant, id: JobId, rise_seconds: u32) -> Result<Option<Arc<PollRow>>, DbError> {
        self.polls.get(self, PollKey { tenant: tenant.clone(), id, rise_seconds }).await
    }
}
