//! What looking at jobs costs in rows read, with many jobs in the database: it does not grow with them. And polls that share their
//! statements answer each caller right.

use std::time::Duration;

use futures::future::join_all;
use practised::db::polls::MOST_AHEAD;
use practised::db::{Db, JobStatus, Order, Page, jobs, metrics};
use practised::ids::{JobId, ModelId};
use practised::queue::claim::claim;
use practised::queue::{AGEING, cancel, rescue};
use serde_json::json;

use super::{brings, let_leases_run_out, our_fault, position, take};
use crate::support::database::{Database, LOCAL};

/// Jobs of `local` that have ended; as many of another tenant.
const MANY: i64 = 20_000;

/// Copies the only job, with a task and three events each, all of them done; the copies came before it.
const FILL: &str = "
    insert into tenant (name) values ('other');
    insert into blob (tenant, sha256, size) select 'other', sha256, size from blob;
    insert into model (id, tenant, sha256, size, analysis)
        select '01a20000-0000-7000-8000-000000000001', 'other', sha256, size, analysis from model;
    insert into job (id, tenant, model, config, deadline, created_at, status, phase, started_at, finished_at, outcome, last_event)
        select ('01a10000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
               case when n % 2 = 0 then 'local' else 'other' end, job.model, config, deadline,
               now() - interval '2 days' + n * interval '1 second', 'succeeded', 'export', now(), now(), 'target_met', 10
        from job, generate_series(1, 40000) as n;
    insert into task (id, job, kind, state, result, attempt, lease, started_at, finished_at)
        select gen_random_uuid(), id, 'measure', 'done', '{}', 1, 1, now(), now() from job where finished_at is not null;
    insert into event (job, seq, kind) select id, seq, 'task_done' from job, generate_series(1, 3) as seq
        where finished_at is not null;
    analyze;";

/// How many rows and index entries this connection's statements have read so far.
async fn read_so_far(db: &Db) -> i64 {
    let mut conn = db.connection().await.expect("a connection");
    sqlx::query("select pg_stat_force_next_flush()").execute(&mut *conn).await.expect("asked");
    sqlx::query("select 1").execute(&mut *conn).await.expect("flushed");
    let read = sqlx::query_scalar(
        "select ((select sum(seq_tup_read) from pg_stat_user_tables)
                 + (select sum(idx_tup_read) from pg_stat_user_indexes))::bigint",
    );
    read.fetch_one(&mut *conn).await.expect("read")
}

#[tokio::test]
async fn looking_at_jobs_costs_the_same_however_many_have_ended() {
    let base = Database::start().await;
    let worker = base.worker().await;
    let queued = base.job(json!({ "finetune": null }), &["a"]).await;
    sqlx::raw_sql(FILL).execute(base.db.pool()).await.expect("filled");
    // One connection, whose counts are told at once; nobody else reads meanwhile.
    let db = Db::connect(&base.url(), 1).await.expect("connects");
    let page = |order| Page { after: None, limit: 51, order };
    let listed = async |order, status, model| {
        let mut conn = db.connection().await.expect("a connection");
        jobs::list(&mut conn, &LOCAL, page(order), status, model).await.expect("listed").len()
    };
    let model: ModelId = super::job(&db, queued).await.model;
    let nothing = ModelId::new();
    let mut costly = Vec::new();
    // From the sixth execution on, a statement may get a plan that knows no parameters.
    for _ in 0..8 {
        for order in [Order::Ascending, Order::Descending] {
            use JobStatus::{Failed, Queued, Running, Succeeded};
            for (name, status, model, found) in [
                ("all", None, None, 51),
                ("succeeded", Some(Succeeded), None, 51),
                ("queued", Some(Queued), None, 1),
                ("running", Some(Running), None, 0),
                ("failed", Some(Failed), None, 0),
                ("of a model", None, Some(model), 51),
                ("of no model", None, Some(nothing), 0),
                ("running of a model", Some(Running), Some(model), 0),
                ("succeeded of no model", Some(Succeeded), Some(nothing), 0),
            ] {
                let before = read_so_far(&db).await;
                assert_eq!(listed(order, status, model).await, found, "{name}");
                costly.push((name, read_so_far(&db).await - before));
            }
        }
        let before = read_so_far(&db).await;
        db.poll(&LOCAL, queued, AGEING.as_secs() as u32).await.expect("read").expect("there");
        costly.push(("a poll", read_so_far(&db).await - before));
        let before = read_so_far(&db).await;
        metrics::read(&db).await.expect("read");
        costly.push(("a scrape", read_so_far(&db).await - before));
        let before = read_so_far(&db).await;
        rescue::sweep(&db).await.expect("swept");
        costly.push(("a sweep", read_so_far(&db).await - before));
    }
    let before = read_so_far(&db).await;
    claim(&db, worker).await.expect("claims").expect("the queued one's task");
    costly.push(("a claim", read_so_far(&db).await - before));
    costly.retain(|(_, read)| *read > 1000);
    assert!(costly.is_empty(), "of {MANY} jobs: {costly:?}");
    db.close().await;
    base.stop().await;
}

#[tokio::test]
async fn polls_that_come_together_are_each_answered_right() {
    let base = Database::start().await;
    let acme = base.tenant("acme").await;
    let mut asked = Vec::new();
    for place in 0..5 {
        asked.push((LOCAL.clone(), base.job_for(&LOCAL, &["a"]).await, Some(place)));
        asked.push((acme.clone(), base.job_for(&acme, &["a"]).await, Some(place)));
    }
    let ended = base.job_for(&acme, &["a"]).await;
    cancel::request(&base.db, ended).await.expect("cancelled");
    asked.push((acme.clone(), ended, None));
    let polls = (0..600).map(|index| {
        let (tenant, id, place) = &asked[index % asked.len()];
        let other = if *tenant == acme { &*LOCAL } else { &acme };
        let db = base.db.clone();
        async move {
            let found = db.poll(tenant, *id, 1800).await.expect("read").expect("there");
            assert_eq!((found.job.id, &found.job.tenant, found.queue_position), (*id, tenant, *place));
            assert!(db.poll(other, *id, 1800).await.expect("read").is_none(), "another tenant has no such job");
            assert!(db.poll(tenant, JobId::new(), 1800).await.expect("read").is_none());
        }
    });
    join_all(polls).await;
    base.stop().await;
}

/// An answer is never older than its question, while others keep the statements busy.
#[tokio::test]
async fn a_poll_sees_what_was_committed_before_it() {
    let base = Database::start().await;
    let others: Vec<JobId> = vec![base.job_for(&LOCAL, &["a"]).await, base.job_for(&LOCAL, &["a"]).await];
    let noise = tokio::spawn({
        let db = base.db.clone();
        async move {
            loop {
                join_all((0..50).map(|index| db.poll(&LOCAL, others[index % 2], 1800))).await;
            }
        }
    });
    for _ in 0..30 {
        let id = base.job_for(&LOCAL, &["a"]).await;
        assert_eq!(position(&base, id).await, Some(2));
        cancel::request(&base.db, id).await.expect("cancelled");
        assert_eq!(
            base.db.poll(&LOCAL, id, 1800).await.expect("read").expect("there").job.status,
            JobStatus::Cancelled
        );
    }
    noise.abort();
    base.stop().await;
}

#[tokio::test]
async fn a_poll_survives_connections_that_broke_since_they_were_used() {
    let base = Database::start().await;
    let id = base.job_for(&LOCAL, &["a"]).await;
    for _ in 0..3 {
        base.db.poll(&LOCAL, id, 1800).await.expect("read").expect("there");
        let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity where pid <> pg_backend_pid()
                   and backend_type = 'client backend'";
        let other = Db::connect(&base.url(), 1).await.expect("connects");
        sqlx::query(end).execute(other.pool()).await.expect("ended");
        other.close().await;
        base.db.poll(&LOCAL, id, 1800).await.expect("on a new connection").expect("there");
    }
    base.stop().await;
}

#[tokio::test]
async fn a_position_far_back_is_counted_up_to_a_bound() {
    let base = Database::start().await;
    let first = base.job_for(&LOCAL, &["a"]).await;
    let copies = "insert into job (id, tenant, model, uses_model, config, deadline, created_at)
                  select ('01a90000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, tenant, model, uses_model, config, deadline,
                         created_at + n * interval '1 millisecond' from job, generate_series(1, $1) as n";
    sqlx::query(copies).bind(MOST_AHEAD as i32 + 5).execute(base.db.pool()).await.expect("copied");
    let at = |n: i64| format!("01a90000-0000-7000-8000-{n:012x}").parse::<JobId>().expect("an id");
    assert_eq!(position(&base, first).await, Some(0));
    for (n, expected) in [(1, 1), (MOST_AHEAD - 1, MOST_AHEAD - 1), (MOST_AHEAD + 4, MOST_AHEAD)] {
        assert_eq!(position(&base, at(n)).await, Some(expected), "job {n}");
    }
    base.stop().await;
}

/// What the metrics are by the tables themselves.
const BY_THE_TABLES: &str = "
    select 'practised_jobs ' || status as name, count(*)::double precision as value from job group by status
    union all select 'practised_claims_total ' || (detail ->> 'task'), count(*) from event
        where kind in ('task_started', 'task_rescued') group by 1
    union all select 'practised_rescues_total ' || (detail ->> 'task'), count(*) from event where kind = 'task_rescued' group by 1
    union all select 'practised_retries_total ' || (detail ->> 'task'), count(*) from event
        where kind = 'task_failed' and detail ? 'again_in_seconds' group by 1
    union all select 'practised_releases_total ' || (detail ->> 'task'), count(*) from event
        where kind = 'task_released' group by 1
    union all select 'practised_scores_reused_total ', count(*) from task where reused having count(*) > 0
    union all select 'practised_tasks_done_total ' || kind, count(*) from task where state = 'done' and not reused group by kind
    union all select 'practised_queue_depth ' || kind, count(*) from task where state = 'ready' group by kind
    order by 1";

async fn metrics_are_right(db: &Db) {
    let expected: Vec<(String, f64)> = sqlx::query_as(BY_THE_TABLES).fetch_all(db.pool()).await.expect("read");
    let all = metrics::read(db).await.expect("read");
    let mut found = Vec::new();
    for (metric, samples) in all {
        for sample in samples {
            found.push((format!("{} {}", metric.name, sample.label.unwrap_or_default()), sample.value));
        }
    }
    let counted = |name: &str| {
        [
            "jobs",
            "claims_total",
            "rescues_total",
            "retries_total",
            "releases_total",
            "scores_reused_total",
            "tasks_done_total",
            "queue_depth",
        ]
        .iter()
        .any(|family| name.starts_with(&format!("practised_{family} ")))
    };
    found.retain(|(name, value)| counted(name) && *value != 0.0);
    found.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(found, expected);
}

#[tokio::test]
async fn the_metrics_are_what_the_tables_say_before_and_after_they_are_added_up() {
    let base = Database::start().await;
    let db = &base.db;
    let worker = base.worker().await;
    metrics_are_right(db).await;
    let (model, images) = (base.model(b"a model").await, base.image_set(b"images").await);
    let whole = base.job_on(model, Some(images), json!({ "finetune": null }), &["a", "b"]).await;
    let released = take(db, worker).await;
    practised::queue::lease::release(db, &released).await.expect("released");
    take(db, worker).await;
    let_leases_run_out(db, worker).await;
    let worker = base.worker().await;
    while !super::job(db, whole).await.status.is_done() {
        let claim = take(db, worker).await;
        practised::queue::complete::complete(db, &claim, &brings(claim.kind)).await.expect("stored");
        metrics_are_right(db).await;
    }
    base.job_on(model, Some(images), json!({ "finetune": null }), &["a", "b"]).await;
    let failing = take(db, worker).await;
    practised::queue::fail::fail(db, &failing, &our_fault(), true).await.expect("put back");
    let cancelled = base.job_for(&LOCAL, &["a"]).await;
    cancel::request(db, cancelled).await.expect("cancelled");
    metrics_are_right(db).await;
    let mut conn = db.connection().await.expect("a connection");
    assert!(metrics::roll_up(&mut conn).await.expect("added up") > 0);
    assert_eq!(metrics::roll_up(&mut conn).await.expect("nothing is left"), 0);
    drop(conn);
    metrics_are_right(db).await;
    base.job_for(&LOCAL, &["a"]).await;
    metrics_are_right(db).await;
    base.stop().await;
}

/// Roll-ups at once, while changes come in, lose nothing and count nothing twice.
#[tokio::test]
async fn tallies_that_are_added_up_by_many_at_once_stay_right() {
    let base = Database::start().await;
    let work = async {
        for _ in 0..20 {
            base.job_for(&LOCAL, &["a"]).await;
        }
    };
    let roll_up = async || {
        for _ in 0..20 {
            let mut conn = base.db.connection().await.expect("a connection");
            metrics::roll_up(&mut conn).await.expect("added up");
        }
    };
    let all = async { tokio::join!(work, roll_up(), roll_up(), roll_up()) };
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("nobody waits for ever");
    metrics_are_right(&base.db).await;
    base.stop().await;
}
