//! The queue in numbers, for Prometheus. All of them are read from the tables, so every process of the service says the same, and
//! none is lost when a process ends.

use sqlx::FromRow;

use super::claims::{claimable_job, claimable_task};
use super::{Db, DbError};

/// A family of figures.
#[derive(Debug)]
pub struct Metric {
    /// Name, with its unit.
    pub name: &'static str,
    /// `gauge` or `counter`.
    pub kind: &'static str,
    /// What it says.
    pub help: &'static str,
    /// What tells its figures apart, where there are several.
    pub label: Option<&'static str>,
    /// Selects `label` and `value`.
    query: &'static str,
}

/// One figure of a family.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct Sample {
    /// Value of the family's label.
    pub label: Option<String>,
    /// The figure.
    pub value: f64,
}

/// How many events of some kind there are, by the kind of their task.
macro_rules! events_by_task {
    ($condition:literal) => {
        concat!(
            "select detail ->> 'task' as label, count(*)::double precision as value from event where ",
            $condition,
            " group by 1"
        )
    };
}

/// All of them.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "practised_jobs",
        kind: "gauge",
        help: "Jobs by status.",
        label: Some("status"),
        query: "select status::text as label, count(job.id)::double precision as value
                from unnest(enum_range(null::job_status)) as status left join job using (status) group by status",
    },
    Metric {
        name: "practised_queue_depth",
        kind: "gauge",
        help: "Tasks that wait for a worker, by kind; those that a cap of their tenant holds back too.",
        label: Some("task"),
        query: concat!(
            "select wanted.kind::text as label, count(claimable.id)::double precision as value
             from unnest(enum_range(null::task_kind)) as wanted (kind)
             left join (select task.id, task.kind from task join job on job.id = task.job
                        where ",
            claimable_task!("8", "2"),
            " and ",
            claimable_job!(),
            ") as claimable on claimable.kind = wanted.kind
             group by wanted.kind"
        ),
    },
    Metric {
        name: "practised_oldest_queued_seconds",
        kind: "gauge",
        help: "How long the oldest job that nobody has begun is waiting.",
        label: None,
        query: "select null::text as label,
                       coalesce(extract(epoch from now() - min(created_at)), 0)::double precision as value
                from job where status = 'queued'",
    },
    Metric {
        name: "practised_workers",
        kind: "gauge",
        help: "Workers that gave a sign of life in the last minute, by what they do.",
        label: Some("state"),
        query: "select state as label, count(worker.id)::double precision as value
                from (values ('idle'), ('busy')) as states (state)
                left join worker on worker.stopped_at is null and worker.seen_at > now() - interval '60 seconds'
                    and (state = 'busy') = exists (select from task where task.worker = worker.id
                                                   and task.state = 'running' and task.lease_until >= now())
                group by state",
    },
    Metric {
        name: "practised_claims_total",
        kind: "counter",
        help: "Tasks begun, by kind; again ones too.",
        label: Some("task"),
        query: events_by_task!("kind in ('task_started', 'task_rescued')"),
    },
    Metric {
        name: "practised_rescues_total",
        kind: "counter",
        help: "Tasks taken over from a worker that was not heard of, by kind.",
        label: Some("task"),
        query: events_by_task!("kind = 'task_rescued'"),
    },
    Metric {
        name: "practised_retries_total",
        kind: "counter",
        help: "Failures that were put back to be tried again, by kind.",
        label: Some("task"),
        query: events_by_task!("kind = 'task_failed' and detail ? 'again_in_seconds'"),
    },
    Metric {
        name: "practised_releases_total",
        kind: "counter",
        help: "Tasks given back by workers that were asked to end, by kind.",
        label: Some("task"),
        query: events_by_task!("kind = 'task_released'"),
    },
    Metric {
        name: "practised_leases_lost_total",
        kind: "counter",
        help: "Leases that ran out before their task was ended.",
        label: None,
        query: "select null::text as label,
                       ((select count(*) from event where kind = 'task_rescued')
                        + (select count(*) from job where error ->> 'code' = 'task_crashed'))::double precision as value",
    },
    Metric {
        name: "practised_scores_reused_total",
        kind: "counter",
        help: "Scores that an earlier job had left.",
        label: None,
        query: "select null::text as label, count(*)::double precision as value from task where reused",
    },
    Metric {
        name: "practised_task_seconds_total",
        kind: "counter",
        help: "Seconds of the attempts that brought a result, by kind.",
        label: Some("task"),
        query: "select kind::text as label,
                       sum(extract(epoch from finished_at - started_at))::double precision as value
                from task where state = 'done' and not reused group by kind",
    },
    Metric {
        name: "practised_tasks_done_total",
        kind: "counter",
        help: "Tasks that brought a result, by kind.",
        label: Some("task"),
        query: "select kind::text as label, count(*)::double precision as value
                from task where state = 'done' and not reused group by kind",
    },
];

/// Reads all of them in one snapshot.
///
/// # Errors
/// As [`DbError`].
pub async fn read(db: &Db) -> Result<Vec<(&'static Metric, Vec<Sample>)>, DbError> {
    let mut tx = db.snapshot().await?;
    let mut all = Vec::new();
    for metric in METRICS {
        all.push((metric, sqlx::query_as(metric.query).fetch_all(&mut *tx).await?));
    }
    tx.rollback().await?;
    Ok(all)
}
