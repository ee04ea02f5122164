//! Who gets the next free worker.

use sqlx::FromRow;

use super::{Connection, DbError, TaskKind};
use crate::ids::{JobId, TaskId, WorkerId};

/// Condition on a task: it can be begun, or begun again, as far as attempts are left.
macro_rules! claimable_task {
    () => {
        "(task.state = 'ready' and task.run_after <= now() or task.state = 'running' and task.lease_until < now())"
    };
}

/// Condition on a job: its tasks can be begun.
macro_rules! claimable_job {
    () => {
        "job.finished_at is null and job.cancel_requested_at is null and job.deadline > now()"
    };
}

/// The class of a job, from 0 (low) to 2 (high): its priority, and one more for each of so many seconds since it came. The
/// highest is for all that waited long enough, where the oldest goes first.
macro_rules! class {
    ($rise_seconds:literal) => {
        concat!(
            "least(2, case job.priority when 'low' then 0 when 'normal' then 1 else 2 end
                      + floor(date_part('epoch', now() - job.created_at) / ",
            $rise_seconds,
            "::double precision)::integer)"
        )
    };
}
pub(super) use class;

/// What a claim goes by.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// How long the lease lasts without a heartbeat.
    pub lease_seconds: f64,
    /// How often a task is begun at most.
    pub max_attempts: i32,
    /// How long a job waits until it rises by one class.
    pub rise_seconds: f64,
}

/// What a claim brings.
#[derive(Debug, Clone, FromRow)]
pub struct ClaimRow {
    /// The task.
    pub id: TaskId,
    /// Its job.
    pub job: JobId,
    /// What to do.
    pub kind: TaskKind,
    /// The block, for a score.
    pub block: Option<String>,
    /// Which attempt this is, from 1.
    pub attempt: i32,
    /// The fence to name in every write.
    pub lease: i64,
    /// True where the last holder of the lease was not heard of in time.
    pub rescued: bool,
}

/// One statement. Jobs are put in order first, and their tasks looked at one job after the other, each locked only as it is taken:
/// without a sort of all tasks, and without a lock on one that is not taken. (A lateral join goes through its left side in order.)
const CLAIM: &str = concat!(
    "with live as materialized (
         select job.id, job.tenant, job.created_at, ",
    class!("$4"),
    "        as class
         from job
         where ",
    claimable_job!(),
    "      and (job.device is null
                or exists (select from worker where worker.id = $1
                           and (worker.device = job.device or split_part(worker.device, ':', 1) = job.device
                                or position(lower(job.device) in lower(worker.device_name)) > 0)))
     ),
     running as (
         -- Leases that ran out are counted out here and not by `where`: PostgreSQL then knows how few rows these are.
         select task.job, job.tenant, count(*) filter (where task.lease_until >= now()) as tasks
         from task join job on job.id = task.job where task.state = 'running' group by task.job, job.tenant
     ),
     busy as (select tenant, sum(tasks)::bigint as tasks from running group by tenant),
     turn as materialized (
         -- Of two tenants of which the same runs, the other one's turn is next: that whose last job was begun longer ago.
         select tenant, rank() over (order by coalesce(busy.tasks, 0),
                                         (select max(started_at) from job where job.tenant = tenant_caps.tenant) nulls first)
                        as place
         from tenant_caps left join busy using (tenant)
         where max_running is null or coalesce(busy.tasks, 0) < max_running
     ),
     queue as materialized (
         select live.id
         from live join turn using (tenant) left join running on running.job = live.id
         order by live.class desc, turn.place, coalesce(running.tasks, 0), live.created_at, live.id
     ),
     next as (
         select earliest.id, earliest.rescued
         from queue cross join lateral (
             select task.id, task.state = 'running' as rescued
             from task
             where task.job = queue.id and task.attempt < $3 and ",
    claimable_task!(),
    "        order by task.kind, task.id
             for update skip locked
         ) as earliest
         limit 1
     )
     update task
     set state = 'running', attempt = attempt + 1, lease = lease + 1, worker = $1,
         lease_until = now() + make_interval(secs => $2), started_at = now()
     from next where task.id = next.id
     returning task.id, task.job, task.kind, task.block, task.attempt, task.lease, next.rescued",
);

/// Takes a task that this worker's device may compute, of those that wait or whose lease ran out with an attempt left, and whose
/// tenant has not reached its cap: of the jobs of the highest class, of those of the tenant with the fewest running tasks, or
/// whose last job was begun before the others', of the one with the fewest running tasks, of the oldest. Within the job, in the
/// order of its journey. Never waits: rows that others are busy with are skipped.
///
/// # Errors
/// As [`DbError`].
pub async fn claim(conn: &mut Connection, worker: WorkerId, rules: Rules) -> Result<Option<ClaimRow>, DbError> {
    let claim = sqlx::query_as(CLAIM);
    let claim = claim.bind(worker).bind(rules.lease_seconds).bind(rules.max_attempts);
    Ok(claim.bind(rules.rise_seconds).fetch_optional(conn).await?)
}
