//! Who gets the next free worker.

use sqlx::FromRow;

use super::{Connection, DbError, TaskKind};
use crate::ids::{JobId, TaskId, WorkerId};

/// How long a task whose worker died waits until it can be begun again: not at all after the first crash or after progress, then
/// twice as long each time.
macro_rules! crash_wait {
    ($crash_wait:literal) => {
        concat!(
            "make_interval(secs => case when task.progressed or task.crashes = 0 then 0
                                        else ",
            $crash_wait,
            "::double precision * 2 ^ (task.crashes - 1) end)"
        )
    };
}

/// Condition on a task: it can be begun, or begun again. A task that is ready has a failure left; one whose worker died may have had
/// its last crash.
macro_rules! claimable_task {
    ($max_crashes:literal, $crash_wait:literal) => {
        concat!(
            "(task.state = 'ready' and task.run_after <= now()
              or task.state = 'running' and task.lease_until + ",
            crate::db::claims::crash_wait!($crash_wait),
            " < now() and (task.progressed or task.crashes + 1 < ",
            $max_crashes,
            "))"
        )
    };
}

/// Condition on a worker's row: its device is one that the job may be computed on.
macro_rules! fits {
    ($device:literal, $worker:literal) => {
        concat!(
            "(",
            $device,
            " is null or ",
            $worker,
            ".device = ",
            $device,
            " or split_part(",
            $worker,
            ".device, ':', 1) = ",
            $device,
            " or position(lower(",
            $device,
            ") in lower(",
            $worker,
            ".device_name)) > 0)"
        )
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

/// The slot on which a task failed or crashed last. A crash after progress is nothing to be held against anybody.
macro_rules! failed_on {
    () => {
        "(case when task.state = 'ready' then task.failed_on
               when task.progressed then null
               else (select coalesce(slot, id) from worker where id = task.worker) end)"
    };
}

/// Condition on a task that failed on the slot that asks: others come first. For good if one more failure, or one more crash, would
/// end the job; else for a while.
macro_rules! left_to_others {
    () => {
        concat!(
            "(case when task.state = 'ready'
                   then task.attempt + 1 >= $3 or task.crashes + 1 >= $5
                        or task.run_after + make_interval(secs => $7) > now()
                   else task.attempt >= $3 or task.crashes + 2 >= $5
                        or task.lease_until + 2 * ",
            crash_wait!("$6"),
            " > now() end)"
        )
    };
}
pub(super) use {class, crash_wait};

/// [`MAX_ATTEMPTS`] for a query's text.
macro_rules! max_attempts {
    () => {
        3
    };
}

/// One less than [`MAX_CRASHES`] for a query's text: a task with so many ends with the next one.
macro_rules! max_counted_crashes {
    () => {
        7
    };
}
pub(super) use {max_attempts, max_counted_crashes};

/// How often a task may fail in a row without durable progress. The last time is on another worker if there is one. A check constraint
/// of the table `task` has the same number.
pub const MAX_ATTEMPTS: i32 = max_attempts!();

/// How often a task may lose its worker in a row without durable progress, likewise. More often than it may fail: a task that kills
/// its worker looks like one whose worker is killed, and on preemptible machines the second is common.
pub const MAX_CRASHES: i32 = max_counted_crashes!() + 1;

/// What a claim goes by.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// How long the lease lasts without a heartbeat.
    pub lease_seconds: f64,
    /// How often a task may fail in a row without progress.
    pub max_attempts: i32,
    /// How long a job waits until it rises by one class.
    pub rise_seconds: f64,
    /// How often a task may lose its worker in a row without progress.
    pub max_crashes: i32,
    /// How long a task waits after the second of these; twice as long after each further one.
    pub crash_wait_seconds: f64,
    /// How long a task that failed is left to other workers than the one that it failed on.
    pub precedence_seconds: f64,
}

/// A task with the lease that its holder names in every write.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Claim {
    /// The task.
    #[sqlx(rename = "id")]
    pub task: TaskId,
    /// Its job.
    pub job: JobId,
    /// What to do.
    pub kind: TaskKind,
    /// The block, for a score.
    pub block: Option<String>,
    /// Which attempt this is, from 1; crashes are not counted.
    pub attempt: i32,
    /// How often the task lost its worker in a row without progress.
    pub crashes: i32,
    /// The fence.
    pub lease: i64,
}

/// What a claim brings.
#[derive(Debug, Clone, FromRow)]
pub struct ClaimRow {
    /// The task and its lease.
    #[sqlx(flatten)]
    pub claim: Claim,
    /// True where the last holder of the lease was not heard of in time.
    pub rescued: bool,
}

/// One statement. Jobs are put in order first, and their tasks looked at one job after the other, each locked only as it is taken:
/// without a sort of all tasks, and without a lock on one that is not taken. (A lateral join goes through its left side in order.)
const CLAIM: &str = concat!(
    "with me as materialized (
         select device, device_name, coalesce(slot, id) as slot from worker where id = $1
     ),
     others as materialized (
         -- Workers that could take what this one does not.
         select worker.device, worker.device_name from worker, me
         where worker.stopped_at is null and worker.seen_at > now() - interval '60 seconds'
           and worker.unhealthy_since is null and coalesce(worker.slot, worker.id) <> me.slot
     ),
     live as materialized (
         select job.id, job.tenant, job.created_at, job.device, ",
    class!("$4"),
    "        as class
         from job
         where ",
    claimable_job!(),
    "      and (job.device is null or exists (select from me where ",
    fits!("job.device", "me"),
    "))
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
         select live.id, live.device
         from live join turn using (tenant) left join running on running.job = live.id
         order by live.class desc, turn.place, coalesce(running.tasks, 0), live.created_at, live.id
     ),
     next as (
         select earliest.id, earliest.rescued, earliest.failed_on
         from queue cross join lateral (
             select task.id, task.state = 'running' as rescued, ",
    failed_on!(),
    "               as failed_on
             from task
             where task.job = queue.id and ",
    claimable_task!("$5", "$6"),
    "        and not (",
    failed_on!(),
    "                  is not distinct from (select slot from me)
                      and exists (select from others where ",
    fits!("queue.device", "others"),
    ")
                      and ",
    left_to_others!(),
    ")
             order by task.kind, task.id
             for update skip locked
         ) as earliest
         limit 1
     )
     update task
     set state = 'running', lease = lease + 1, worker = $1, lease_until = now() + make_interval(secs => $2), started_at = now(),
         attempt = case when not next.rescued then attempt + 1 when progressed then 1 else attempt end,
         crashes = case when not next.rescued then crashes when progressed then 0 else crashes + 1 end,
         failed_on = next.failed_on, progressed = false
     from next where task.id = next.id
     returning task.id, task.job, task.kind, task.block, task.attempt, task.crashes, task.lease, next.rescued",
);

/// Takes a task that this worker's device may compute, of those that wait or whose lease ran out with a crash left, that are not left
/// to another worker, and whose tenant has not reached its cap: of the jobs of the highest class, of those of the tenant with the fewest running tasks, or
/// whose last job was begun before the others', of the one with the fewest running tasks, of the oldest. Within the job, in the
/// order of its journey. Never waits: rows that others are busy with are skipped.
///
/// # Errors
/// As [`DbError`].
pub async fn claim(conn: &mut Connection, worker: WorkerId, rules: Rules) -> Result<Option<ClaimRow>, DbError> {
    let claim = sqlx::query_as(CLAIM);
    let claim = claim.bind(worker).bind(rules.lease_seconds).bind(rules.max_attempts);
    let claim = claim.bind(rules.rise_seconds).bind(rules.max_crashes).bind(rules.crash_wait_seconds);
    Ok(claim.bind(rules.precedence_seconds).fetch_optional(conn).await?)
}
