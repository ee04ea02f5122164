//! Metrics of the queue, for Prometheus. All of them come from the database, so every process of the service reports the same,
//! and
//! none is lost when a process ends.
//!
//! Totals are counted as they change, by triggers in the transactions that make it happen (`tally`), so a scrape
//! costs the same after a million events as after ten.

use std::collections::BTreeMap;

use sqlx::FromRow;

use super::{Connection, Db, DbError};

/// A family of figures.
#[derive(Debug)]
pub struct Metric {
    /// Name, with its unit.
    pub name: &'static str,
    /// `gauge` or `counter`.
    pub kind: &'static str,
    /// Help text of the metric.
    pub help: &'static str,
    /// Name of the label, if it has several samples.
    pub label: Option<&'static str>,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// Selects `label` and `value`, from few rows or a range of an index.
    Query(&'static str),
    /// The sum of these tallies.
    Tally(&'static [&'static str]),
}

/// One figure of a family.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct Sample {
    /// Value of the family's label.
    pub label: Option<String>,
    /// The figure.
    pub value: f64,
}

/// The current value of a tally.
#[derive(Debug, FromRow)]
struct Tally {
    name: String,
    label: String,
    value: f64,
}

/// All of them.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "practised_jobs",
        kind: "gauge",
        help: "Jobs by status.",
        label: Some("status"),
        source: Source::Tally(&["jobs"]),
    },
    Metric {
        name: "practised_queue_depth",
        kind: "gauge",
        help: "Tasks that wait for a worker, by kind, including those delayed by a limit or before a retry.",
        label: Some("task"),
        source: Source::Query(
            "select wanted.kind::text as label,
                    coalesce((select value from tallied where name = 'tasks_ready' and label = wanted.kind::text), 0)
                    + (select count(*) from task
                       where state = 'running' and lease_until < now() and task.kind = wanted.kind) as value
             from unnest(enum_range(null::task_kind)) as wanted (kind)",
        ),
    },
    Metric {
        name: "practised_oldest_queued_seconds",
        kind: "gauge",
        help: "Seconds that the oldest queued job has waited.",
        label: None,
        // Both conditions are needed for the index of unfinished jobs, oldest first.
        source: Source::Query(
            "select null::text as label,
                    coalesce(extract(epoch from now() - min(created_at)), 0)::double precision as value
             from job where status = 'queued' and finished_at is null",
        ),
    },
    Metric {
        name: "practised_workers",
        kind: "gauge",
        help: "Workers that sent a heartbeat in the last minute, by state.",
        label: Some("state"),
        source: Source::Query(
            "select state as label, count(worker.id)::double precision as value
             from (values ('idle'), ('busy')) as states (state)
             left join worker on worker.stopped_at is null and worker.seen_at > now() - interval '60 seconds'
                 and (state = 'busy') = exists (select from task where task.worker = worker.id
                                                and task.state = 'running' and task.lease_until >= now())
             group by state",
        ),
    },
    Metric {
        name: "practised_claims_total",
        kind: "counter",
        help: "Tasks started, by kind, including restarts.",
        label: Some("task"),
        source: Source::Tally(&["task_started", "task_rescued"]),
    },
    Metric {
        name: "practised_rescues_total",
        kind: "counter",
        help: "Tasks taken over from a worker whose lease expired, by kind.",
        label: Some("task"),
        source: Source::Tally(&["task_rescued"]),
    },
    Metric {
        name: "practised_retries_total",
        kind: "counter",
        help: "Failed tasks that were queued again, by kind.",
        label: Some("task"),
        source: Source::Tally(&["task_retried"]),
    },
    Metric {
        name: "practised_releases_total",
        kind: "counter",
        help: "Tasks given back by workers that were stopped, by kind.",
        label: Some("task"),
        source: Source::Tally(&["task_released"]),
    },
    Metric {
        name: "practised_leases_lost_total",
        kind: "counter",
        help: "Leases that expired before their task ended.",
        label: None,
        source: Source::Tally(&["task_rescued", "task_crashed"]),
    },
    Metric {
        name: "practised_scores_reused_total",
        kind: "counter",
        help: "Scores reused from earlier jobs.",
        label: None,
        source: Source::Tally(&["scores_reused"]),
    },
    Metric {
        name: "practised_task_seconds_total",
        kind: "counter",
        help: "Seconds of the attempts that returned a result, by kind.",
        label: Some("task"),
        source: Source::Tally(&["task_seconds"]),
    },
    Metric {
        name: "practised_tasks_done_total",
        kind: "counter",
        help: "Tasks that returned a result, by kind.",
        label: Some("task"),
        source: Source::Tally(&["tasks_done"]),
    },
];

/// Reads all of them in one snapshot.
///
/// # Errors
/// As [`DbError`].
pub async fn read(db: &Db) -> Result<Vec<(&'static Metric, Vec<Sample>)>, DbError> {
    let mut tx = db.snapshot().await?;
    let tallies: Vec<Tally> =
        sqlx::query_as("select name, label, value from tallied order by name, label").fetch_all(&mut *tx).await?;
    let mut all = Vec::new();
    for metric in METRICS {
        let samples = match metric.source {
            Source::Query(query) => sqlx::query_as(query).fetch_all(&mut *tx).await?,
            Source::Tally(names) => sum(&tallies, names, metric.label.is_some()),
        };
        all.push((metric, samples));
    }
    tx.rollback().await?;
    Ok(all)
}

/// The tallies of these names, added up by label or all in one.
fn sum(tallies: &[Tally], names: &[&str], by_label: bool) -> Vec<Sample> {
    let named = tallies.iter().filter(|tally| names.contains(&tally.name.as_str()));
    if !by_label {
        return vec![Sample { label: None, value: named.map(|tally| tally.value).sum() }];
    }
    let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
    for tally in named {
        *sums.entry(&tally.label).or_default() += tally.value;
    }
    sums.into_iter().map(|(label, value)| Sample { label: Some(label.to_owned()), value }).collect()
}

/// Adds the changes of the tallies up, so that a scrape reads few rows; how many there were. One process does this at a time, as
/// two would wait for each other's rows.
///
/// # Errors
/// As [`DbError`].
pub async fn roll_up(conn: &mut Connection) -> Result<u64, DbError> {
    let roll_up = sqlx::query_scalar::<_, i64>(
        "with turn as materialized (select pg_try_advisory_xact_lock(hashtextextended('tallies', 0)) as is_ours),
         taken as (delete from tally_change using turn where is_ours returning name, label, change),
         added as (
             insert into tally (name, label, value)
             select name, label, sum(change) from taken group by name, label
             on conflict (name, label) do update set value = tally.value + excluded.value
         )
         select count(*) from taken",
    );
    Ok(roll_up.fetch_one(conn).await?.cast_unsigned())
}
