//! The checker finds nothing where all is well, and each kind of damage by its name.

use practised::db::invariants::INVARIANTS;
use practised::db::{Db, JobStatus};
use practised::queue::complete::complete;
use practised::queue::doctor::examine;
use practised::queue::fail::fail;
use practised::queue::{cancel, rescue};
use serde_json::{Value, json};

use super::{brings, job, our_fault, take};
use crate::support::database::{Database, LOCAL};

/// Runs whatever there is to run.
async fn work_off(base: &Database) {
    let worker = base.worker().await;
    while let Some(claim) = practised::queue::claim::claim(&base.db, worker).await.expect("claims") {
        complete(&base.db, &claim, &brings(claim.kind)).await.expect("stored");
    }
}

/// Names of what does not hold.
pub async fn broken(db: &Db) -> Vec<&'static str> {
    examine(db).await.expect("looked over").findings.iter().map(|finding| finding.invariant).collect()
}

#[tokio::test]
async fn jobs_that_ended_in_every_way_leave_nothing_to_find() {
    let base = Database::start().await;
    let db = &base.db;
    let succeeded = base.job(json!({ "finetune": {} }), &["a"]).await;
    work_off(&base).await;
    let failed = base.job(json!({ "finetune": null }), &["a"]).await;
    let worker = base.worker().await;
    fail(db, &take(db, worker).await, &our_fault(), false).await.expect("failed");
    let cancelled = base.job(json!({ "finetune": null }), &["a"]).await;
    cancel::request(db, cancelled).await.expect("cancelled");
    let expired = base.job_with_deadline(json!({ "finetune": null }), &["a"], 0.0).await;
    rescue::sweep(db).await.expect("swept");
    base.job(json!({ "finetune": null }), &["a", "b"]).await;
    let held = base.worker().await;
    take(db, held).await;

    use JobStatus::{Cancelled, Expired, Failed, Succeeded};
    for (id, status) in [(succeeded, Succeeded), (failed, Failed), (cancelled, Cancelled), (expired, Expired)] {
        assert_eq!(job(db, id).await.status, status);
    }
    let diagnosis = examine(db).await.expect("looked over");
    assert!(diagnosis.findings.is_empty(), "{diagnosis:?}");
    assert_eq!((diagnosis.invariants, diagnosis.ended_jobs), (INVARIANTS.len(), 0));
    base.stop().await;
}

#[tokio::test]
async fn an_overdue_job_is_ended_and_said_so() {
    let base = Database::start().await;
    base.job_with_deadline(json!({ "finetune": null }), &["a"], 0.0).await;
    let diagnosis = examine(&base.db).await.expect("looked over");
    assert_eq!((diagnosis.ended_jobs, diagnosis.findings.len()), (1, 0), "{diagnosis:?}");
    base.stop().await;
}

/// What is found, and what is done before to a database with one job that succeeded and one whose measurement is held.
const DAMAGE: &[(&str, &[&str])] = &[
    (
        "one_task_per_worker",
        &["update task set state = 'running', worker = (select worker from task where state = 'running'),
                 started_at = now(), lease_until = now() + interval '1 minute', lease = 1, attempt = 1
           where id = (select id from task where state = 'ready' limit 1)"],
    ),
    (
        "attempts_in_bounds",
        &[
            "alter table task drop constraint task_attempt_check",
            "update task set attempt = 4, lease = 4 where state = 'done'",
        ],
    ),
    (
        "live_job_goes_on",
        &["update task set state = 'cancelled', lease_until = null, finished_at = now()
                            where job = (select id from job where finished_at is null)"],
    ),
    (
        "ended_job_rests",
        &["update task set state = 'ready', result = null, finished_at = null
           where kind = 'score' and job = (select id from job where finished_at is not null)"],
    ),
    ("success_did_everything", &["delete from task where kind = 'finetune'"]),
    ("events_without_a_gap", &["delete from event where seq = 2"]),
    (
        "one_end",
        &[
            "alter table job disable trigger terminal_status_is_final",
            "update job set last_event = last_event + 1 where finished_at is not null",
            "insert into event (job, seq, kind) select id, last_event, 'task_done' from job where finished_at is not null",
        ],
    ),
    ("one_report", &["delete from report"]),
    (
        "accepted_is_there",
        &["insert into idempotency_key (tenant, route, key, request_sha256, status, body)
           values ('local', 'POST /v1/jobs', 'k', repeat('0', 64), 202, '{\"object\": \"job\", \"id\": \"gone\"}')"],
    ),
    (
        "row_has_its_blob",
        &["alter table artifact drop constraint artifact_blob_fkey", "update artifact set sha256 = repeat('0', 64)"],
    ),
    ("blob_is_whole", &["update blob_chunk set bytes = substr(bytes, 2) where sha256 = (select sha256 from artifact)"]),
];

#[tokio::test]
async fn every_kind_of_damage_is_found_by_its_name() {
    let mut problems = Vec::new();
    for (name, statements) in DAMAGE {
        let base = Database::start().await;
        let db = &base.db;
        base.job(json!({ "finetune": {} }), &["a"]).await;
        work_off(&base).await;
        base.job(json!({ "finetune": {} }), &["a"]).await;
        let worker = base.worker().await;
        take(db, worker).await;
        assert!(broken(db).await.is_empty());
        for statement in *statements {
            sqlx::query(*statement).execute(db.pool()).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        let found = broken(db).await;
        if found != [*name] {
            problems.push(format!("{name}: found {found:?}"));
        }
        base.stop().await;
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[tokio::test]
async fn a_blob_that_nobody_names_is_deleted_or_found() {
    let base = Database::start().await;
    let mut tx = base.db.begin().await.expect("begins");
    practised::blobs::put_bytes(&mut tx, &LOCAL, b"nobody's").await.expect("stored");
    tx.commit().await.expect("committed");
    let found = practised::db::invariants::breaches(&base.db).await.expect("looked");
    assert_eq!(found.iter().map(|(invariant, _)| invariant.name).collect::<Vec<_>>(), ["blob_has_an_owner"]);
    assert!(broken(&base.db).await.is_empty(), "deleted first");
    base.stop().await;
}

#[test]
fn every_invariant_is_broken_by_a_test() {
    let mut tested: Vec<&str> = DAMAGE.iter().map(|(name, _)| *name).collect();
    tested.push("blob_has_an_owner");
    assert_eq!(tested, INVARIANTS.iter().map(|invariant| invariant.name).collect::<Vec<_>>());
}

/// `practised doctor` on the data of a `serve`, running and not.
#[tokio::test]
async fn operators_look_over_the_data_of_a_service() {
    let mut app = crate::support::service::TestApp::without_workers().await;
    app.submit(&app.quick_job().await).await;
    let data = app.dir.path().join("data");
    let doctor = |dir: &std::path::Path| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_practised"));
        let output = command.args(["doctor", "--json", "--data-dir"]).arg(dir).output().expect("runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default(), said)
    };
    let (code, said, log) = doctor(&data);
    assert_eq!((code, &said["findings"]), (Some(0), &json!([])), "{log}");
    app.terminate();
    assert_eq!(doctor(&data).0, Some(0), "the database is started for it");
    let (code, _, log) = doctor(app.dir.path());
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains("contains no database"), "{log}");
}
