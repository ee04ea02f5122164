//! The process dies right before and right after every commit, and what is left is whole: nothing is lost, done twice or half
//! written, and the next process goes on with it.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

use nix::sys::signal::Signal;
use practised::db::{CommitPoint, Db, JobStatus, TaskKind};
use practised::ids::{JobId, WorkerId};
use practised::queue::claim::claim;
use practised::queue::complete::complete;
use practised::queue::fail::fail;
use practised::queue::{cancel, lease, rescue};
use serde_json::json;

use super::{brings, doctor, job, our_fault, take};
use crate::support::database::Database;
use crate::support::service::TestApp;

/// What the process that dies is told: where the database is, and which jobs are there.
const DATABASE: &str = "PRACTISED_TEST_DATABASE";
const JOBS: &str = "PRACTISED_TEST_JOBS";

/// One job for each way in which jobs end, in the order in which [`life`] takes them.
async fn jobs(base: &Database) -> Vec<JobId> {
    let mut jobs = Vec::new();
    for _ in 0..5 {
        jobs.push(base.job(json!({ "finetune": {} }), &["a"]).await);
    }
    jobs.push(base.job_with_deadline(json!({ "finetune": {} }), &["a"], 0.0).await);
    jobs
}

/// Runs through every change of the queue, one job after the other; each of them is the oldest when it is its turn.
async fn life(db: &Db, jobs: &[JobId]) {
    let worker = || async {
        let id = WorkerId::new();
        let mut conn = db.connection().await.expect("a connection");
        practised::db::workers::register(&mut conn, id, "host", 1, "cpu", None, "0").await.expect("registered");
        id
    };
    let [whole, cancelled, stopped, failing, crashing, _late] = jobs else { panic!("six jobs: {jobs:?}") };
    let ours = worker().await;

    let first = take(db, ours).await;
    assert!(lease::release(db, &first).await.expect("released"));
    while !job(db, *whole).await.status.is_done() {
        let claim = take(db, ours).await;
        if claim.kind == TaskKind::Finetune {
            assert!(lease::keep_checkpoint(db, &claim, b"half-way", true).await.expect("kept"));
        }
        complete(db, &claim, &brings(claim.kind)).await.expect("stored");
    }
    cancel::request(db, *cancelled).await.expect("cancelled");

    let held = take(db, ours).await;
    assert_eq!(held.job, *stopped);
    cancel::request(db, *stopped).await.expect("asked");
    cancel::acknowledge(db, &held).await.expect("acknowledged");

    let claim = take(db, ours).await;
    assert_eq!(claim.job, *failing);
    fail(db, &claim, &our_fault(), true).await.expect("put back");
    let claim = take(db, ours).await;
    fail(db, &claim, &our_fault(), false).await.expect("failed");

    // Two tasks of the job that crashes are there; all crashes of the earliest are spent.
    while !job(db, *crashing).await.status.is_done() {
        let dead = worker().await;
        take(db, dead).await;
        rescue::worker_died(db, dead).await.expect("let run out");
        let past =
            "update task set lease_until = lease_until - interval '1 hour' where state = 'running' and worker = $1";
        sqlx::query(past).bind(dead.uuid()).execute(db.pool()).await.expect("time passes");
        rescue::sweep(db).await.expect("swept");
    }
    rescue::sweep(db).await.expect("swept");
}

/// The process that dies: run by the test below, and a test for itself only in name.
#[tokio::test]
async fn life_in_a_process_of_its_own() {
    let (Ok(url), Ok(jobs)) = (std::env::var(DATABASE), std::env::var(JOBS)) else { return };
    let _failpoints = fail::FailScenario::setup();
    let db = Db::connect(&url, 4).await.expect("it takes connections");
    let jobs: Vec<JobId> = jobs.split(',').map(|id| id.parse().expect("an id")).collect();
    life(&db, &jobs).await;
}

/// How a process ended that goes through all of it and is told where to die.
fn dying(base: &Database, jobs: &[JobId], failpoint: &str) -> Output {
    let list: Vec<String> = jobs.iter().map(ToString::to_string).collect();
    let mut child = Command::new(std::env::current_exe().expect("this binary"));
    child.args(["--exact", "queue::commit_points::life_in_a_process_of_its_own", "--nocapture"]);
    child.env(DATABASE, base.url()).env(JOBS, list.join(",")).env("FAILPOINTS", failpoint);
    child.output().expect("runs")
}

/// Whatever is left is ended by the next process.
async fn go_on(base: &Database, jobs: &[JobId]) {
    let db = &base.db;
    sqlx::query("update task set lease_until = now() - interval '1 second' where state = 'running'")
        .execute(db.pool())
        .await
        .expect("time passes");
    sqlx::query("update task set run_after = now() where state = 'ready'")
        .execute(db.pool())
        .await
        .expect("time passes");
    sqlx::query("update job set cancel_requested_at = now() - interval '1 minute' where cancel_requested_at is not null and finished_at is null")
        .execute(db.pool())
        .await
        .expect("time passes");
    rescue::sweep(db).await.expect("swept");
    let worker = base.worker().await;
    while let Some(claim) = claim(db, worker).await.expect("claims") {
        complete(db, &claim, &brings(claim.kind)).await.expect("stored");
    }
    for id in jobs {
        assert!(job(db, *id).await.status.is_done(), "{id} goes on to its end");
    }
}

/// Points of the service, which the tests below die at.
const OF_SERVICE: [CommitPoint; 4] =
    [CommitPoint::Model, CommitPoint::ImageSet, CommitPoint::ApiKey, CommitPoint::Submit];

#[tokio::test]
async fn a_process_that_dies_at_a_commit_of_the_queue_leaves_it_whole() {
    let base = Database::start().await;
    for point in CommitPoint::ALL.into_iter().filter(|point| !OF_SERVICE.contains(point)) {
        for moment in ["before", "after"] {
            let jobs = jobs(&base).await;
            let output = dying(&base, &jobs, &format!("{point:?}/{moment}=1*return"));
            let aborted = output.status.signal() == Some(Signal::SIGABRT as i32);
            assert!(aborted, "{point:?}/{moment}: {output:?}");
            let found = doctor::broken(&base.db).await;
            assert!(found.is_empty(), "{point:?}/{moment}: {found:?}");
            go_on(&base, &jobs).await;
            let found = doctor::broken(&base.db).await;
            assert!(found.is_empty(), "{point:?}/{moment}, gone on: {found:?}");
            assert_eq!(job(&base.db, jobs[0]).await.status, JobStatus::Succeeded, "{point:?}/{moment}");
        }
    }
    base.stop().await;
}

/// Every kind of task, as each commits something of its own.
#[tokio::test]
async fn a_process_that_dies_with_the_result_of_any_task_leaves_it_whole() {
    let base = Database::start().await;
    use TaskKind::{Export, Finetune, Measure, Score, Select};
    for (before, kind) in (0..).zip([Measure, Score, Select, Finetune, Export]) {
        for moment in ["before", "after"] {
            let jobs = jobs(&base).await;
            let output = dying(&base, &jobs, &format!("Complete/{moment}={before}*off->1*return"));
            assert_eq!(output.status.signal(), Some(Signal::SIGABRT as i32), "{kind:?}: {output:?}");
            let mut conn = base.db.connection().await.expect("a connection");
            let tasks = practised::db::tasks::of_job(&mut conn, jobs[0]).await.expect("read");
            drop(conn);
            let done = tasks.iter().filter(|task| task.state == practised::db::TaskState::Done).count();
            assert_eq!(done, before + usize::from(moment == "after"), "{kind:?}/{moment}: {tasks:?}");
            let ended = kind == Export && moment == "after";
            assert_eq!(job(&base.db, jobs[0]).await.status.is_done(), ended, "{kind:?}/{moment}");
            go_on(&base, &jobs).await;
            let found = doctor::broken(&base.db).await;
            assert!(found.is_empty(), "{kind:?}/{moment}: {found:?}");
            assert_eq!(job(&base.db, jobs[0]).await.status, JobStatus::Succeeded);
        }
    }
    base.stop().await;
}

/// A model, an image set, a key, a job: the client hears nothing, asks again with the same key, and there is one of it.
#[tokio::test]
async fn a_service_that_dies_at_a_commit_does_what_was_asked_once() {
    let mut app = TestApp::without_workers().await;
    let net = crate::support::networks::TinyResNet::default();
    let images = crate::support::uploads::image_zip(12, 8);
    let job = app.quick_job().await;
    for point in OF_SERVICE {
        for moment in ["before", "after"] {
            app.terminate();
            app.restart_with(&["--workers", "0"], &[("FAILPOINTS", &format!("{point:?}/{moment}=1*return"))]);
            let key = format!("{point:?} {moment}");
            let ask = |app: &TestApp| {
                let request = match point {
                    // Other bytes each time: the same ones are the same model, and nothing commits.
                    CommitPoint::Model => app
                        .post("/v1/models")
                        .body(crate::support::networks::TinyResNet { seed: 100 + moment.len() as u64, ..net }.bytes()),
                    CommitPoint::ImageSet => {
                        app.post("/v1/image-sets").header("content-type", "application/zip").body(images.clone())
                    }
                    CommitPoint::ApiKey => app.post("/v1/api-keys").json(&json!({ "tenant": "acme" })),
                    _ => app.post("/v1/jobs").json(&job),
                };
                request.header("idempotency-key", &key)
            };
            let path = match point {
                CommitPoint::Model => "/v1/models?limit=100",
                CommitPoint::ImageSet => "/v1/image-sets?limit=100",
                CommitPoint::ApiKey => "/v1/api-keys?limit=100",
                _ => "/v1/jobs?limit=100",
            };
            ask(&app).send().await.expect_err("it dies before it answers");
            app.wait(std::time::Duration::from_secs(10));
            app.restart(&["--workers", "0"]);
            let there = |list: &serde_json::Value| list["data"].as_array().expect("a list").len();
            let between = there(&app.get(path).await.json());
            let answer = app.send(ask(&app)).await;
            // A key is shown once: whoever asks again is told which one was made.
            let expected: &[u16] =
                if (point, moment) == (CommitPoint::ApiKey, "after") { &[409] } else { &[200, 201, 202] };
            assert!(expected.contains(&answer.status), "{point:?}/{moment}: {answer:?}");
            let after = there(&app.get(path).await.json());
            assert_eq!(after, between + usize::from(moment == "before"), "{point:?}/{moment}: one of it");
        }
    }
    app.terminate();
    let data = app.dir.path().join("data");
    let doctor = Command::new(env!("CARGO_BIN_EXE_practised")).args(["doctor", "--data-dir"]).arg(&data).output();
    let doctor = doctor.expect("runs");
    assert!(doctor.status.success(), "{doctor:?}");
}
