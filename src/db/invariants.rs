//! What holds of every state of the database, whatever died when: the queue's promises as queries for what breaks them.
//!
//! Constraints and foreign keys hold most of it already; a query asks again where a restored dump, a hand at `psql` or a
//! mistake of ours could have got around them.

use sqlx::FromRow;

use super::blobs::unowned;
use super::claims::{max_attempts, max_counted_crashes};
use super::{Connection, Db, DbError};

/// One thing that holds always.
#[derive(Debug)]
pub struct Invariant {
    /// Short name.
    pub name: &'static str,
    /// What holds, as a sentence.
    pub sentence: &'static str,
    /// Selects what breaks it: `subject` (which row) and `detail` (how).
    query: &'static str,
}

/// A row that breaks an invariant.
#[derive(Debug, Clone, PartialEq, Eq, FromRow, serde::Serialize)]
pub struct Breach {
    /// Which row.
    pub subject: String,
    /// How.
    pub detail: String,
}

/// All of them.
pub const INVARIANTS: &[Invariant] = &[
    Invariant {
        name: "one_task_per_worker",
        sentence: "A worker holds at most one live lease.",
        query: "select 'worker ' || worker as subject, count(*) || ' tasks at once' as detail
                from task where state = 'running' and lease_until >= now() group by worker having count(*) > 1",
    },
    Invariant {
        name: "attempts_in_bounds",
        sentence: "Without progress, a task fails and crashes at most as often as the queue allows, each time under a new lease.",
        query: concat!(
            "select 'task ' || id as subject, 'attempt ' || attempt || ', crashes ' || crashes || ', lease ' || lease as detail
                from task where attempt not between 0 and ",
            max_attempts!(),
            " or crashes not between 0 and ",
            max_counted_crashes!(),
            " or lease < attempt + crashes
                   or (state in ('running', 'done', 'failed') and attempt = 0 and not reused)"
        ),
    },
    Invariant {
        name: "live_job_goes_on",
        sentence: "A job that is not done has a task that is running or can be claimed.",
        // Whatever ends jobs from outside looks every 2 s; a minute is for a database that was away.
        query: concat!(
            "select 'job ' || job.id as subject, job.status || ', and nothing that a worker could claim' as detail
                from job where job.finished_at is null
                   and not exists (select from task where task.job = job.id
                                   and (task.state = 'ready' and task.attempt < ",
            max_attempts!(),
            "           or task.state = 'running'
                                           and (task.progressed or task.crashes < ",
            max_counted_crashes!(),
            "                   or task.lease_until > now() - interval '1 minute')))"
        ),
    },
    Invariant {
        name: "ended_job_rests",
        sentence: "A job that is done has no waiting or running task.",
        query: "select 'job ' || job.id as subject, task.kind || ' is ' || task.state as detail
                from job join task on task.job = job.id
                where job.finished_at is not null and task.state in ('ready', 'running')",
    },
    Invariant {
        name: "success_did_everything",
        sentence: "A job that succeeded has completed the steps measure, select, finetune and export, if they were requested.",
        query: "select 'job ' || job.id as subject, wanted.kind || ' is missing' as detail
                from job cross join unnest(enum_range(null::task_kind)) as wanted (kind)
                where job.status = 'succeeded' and wanted.kind <> 'score'
                  and (wanted.kind <> 'finetune' or job.config -> 'finetune' <> 'null')
                  and not exists (select from task
                                  where task.job = job.id and task.kind = wanted.kind and task.state = 'done')",
    },
    Invariant {
        name: "events_without_a_gap",
        sentence: "A job's events are numbered from 1 without a gap.",
        query: "select 'job ' || job.id as subject,
                       count(event.seq) || ' events up to ' || coalesce(max(event.seq), 0)
                       || ', the job says ' || job.last_event as detail
                from job left join event on event.job = job.id group by job.id
                having count(event.seq) <> job.last_event or coalesce(max(event.seq), 0) <> job.last_event",
    },
    Invariant {
        name: "one_end",
        sentence: "A job that is done has exactly one final event, the last one, which matches its status; any other job has none.",
        query: "select 'job ' || job.id as subject,
                       'is ' || job.status || ', its final events are '
                       || coalesce(string_agg(event.kind || ' (' || event.seq || ' of ' || job.last_event || ')', ', '
                                              order by event.seq), 'missing') as detail
                from job left join event on event.job = job.id
                     and event.kind in ('succeeded', 'failed', 'cancelled', 'expired')
                group by job.id
                having count(event.seq) <> (job.finished_at is not null)::int
                    or job.finished_at is not null
                       and (max(event.kind) <> job.status::text or max(event.seq) <> job.last_event)",
    },
    Invariant {
        name: "one_report",
        sentence: "A job that succeeded has one report and its artifacts; any other job has none.",
        query: "select 'job ' || job.id as subject,
                       job.status || ', ' || count(distinct report.job) || ' reports, ' || count(artifact.name)
                       || ' artifacts' as detail
                from job left join report on report.job = job.id left join artifact on artifact.job = job.id
                group by job.id
                having (job.status = 'succeeded') <> (count(distinct report.job) = 1)
                    or (job.status = 'succeeded') <> (count(artifact.name) > 0)",
    },
    Invariant {
        name: "accepted_is_there",
        sentence: "A job whose submission was acknowledged exists.",
        query: "select 'answer to ' || key as subject, 'job ' || (body ->> 'id') || ' is not there' as detail
                from idempotency_key
                where body ->> 'object' = 'job' and not exists (select from job where job.id::text = body ->> 'id')",
    },
    Invariant {
        name: "row_has_its_blob",
        sentence: "Every row that refers to bytes finds them.",
        query: "select owner as subject, 'blob ' || sha256 || ' of tenant ' || tenant || ' is not there' as detail from (
                    select 'model ' || id as owner, tenant, sha256 from model
                    union all select 'image set ' || id, tenant, sha256 from image_set
                    union all select 'labels of image set ' || id, tenant, labels_sha256 from image_set
                    union all select 'task ' || task, tenant, sha256 from task_blob
                    union all select 'artifact ' || name || ' of job ' || job, tenant, sha256 from artifact) as owned
                where sha256 is not null and not exists (
                    select from blob where (blob.tenant, blob.sha256) = (owned.tenant, owned.sha256))",
    },
    Invariant {
        name: "blob_is_whole",
        sentence: "Every blob has all its bytes.",
        query: "select 'blob ' || blob.sha256 || ' of tenant ' || blob.tenant as subject,
                       coalesce(sum(octet_length(bytes)), 0) || ' of ' || blob.size || ' bytes' as detail
                from blob left join blob_chunk using (tenant, sha256) group by blob.tenant, blob.sha256
                having coalesce(sum(octet_length(bytes)), 0) <> blob.size
                    or count(position) <> coalesce(max(position) + 1, 0)",
    },
    Invariant {
        name: "blob_has_an_owner",
        sentence: "Every blob is referenced by a row.",
        query: concat!(
            "select 'blob ' || sha256 || ' of tenant ' || tenant as subject, size || ' bytes that nobody names' as detail
             from blob where ",
            unowned!()
        ),
    },
];

/// Asks after all of them in one snapshot, so that what goes on meanwhile cannot look like a breach.
///
/// # Errors
/// As [`DbError`].
pub async fn breaches(db: &Db) -> Result<Vec<(&'static Invariant, Vec<Breach>)>, DbError> {
    let mut tx = db.snapshot().await?;
    let mut broken = Vec::new();
    for invariant in INVARIANTS {
        let breaches = of(&mut tx, invariant).await?;
        if !breaches.is_empty() {
            broken.push((invariant, breaches));
        }
    }
    tx.rollback().await?;
    Ok(broken)
}

async fn of(conn: &mut Connection, invariant: &Invariant) -> Result<Vec<Breach>, DbError> {
    Ok(sqlx::query_as(invariant.query).fetch_all(conn).await?)
}
