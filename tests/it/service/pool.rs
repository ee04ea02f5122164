//! Workers whose device is broken: from the start, later, or for every task.

use std::time::Duration;

use practised::ids::JobId;
use serde_json::Value;

use super::soak::quick;
use crate::support::networks::TinyResNet;
use crate::support::service::{OtherWorker, TestApp};

const LONG: Duration = Duration::from_secs(240);

async fn devices(app: &TestApp) -> Vec<Value> {
    app.get("/v1/devices").await.json()["data"].as_array().expect("a list").clone()
}

/// A job with several tasks that can run at once.
async fn wide(app: &TestApp, seed: u64) -> Value {
    let mut job = quick(app).await;
    (job["seed"], job["exclude_blocks"]) = (seed.into(), TinyResNet::default().droppable()[3..].into());
    job
}

/// `cuda:0` on a machine without a GPU, where it is the natural broken device; injected where there is one.
fn broken() -> (&'static str, Vec<(&'static str, &'static str)>) {
    if std::path::Path::new("/dev/nvidia0").exists() {
        ("cpu", vec![("FAILPOINTS", "open=return")])
    } else {
        ("cuda:0", vec![])
    }
}

#[tokio::test]
async fn a_worker_whose_device_does_not_open_never_registers_and_says_why() {
    let (device, environment) = broken();
    let mut app = TestApp::without_workers().await;
    app.terminate();
    app.restart_with(&["--workers", device], &environment);
    let id = app.submit(&quick(&app).await).await;
    app.until("two tries are over", Duration::from_secs(120), async || {
        app.log().matches("next attempt in").count() >= 2
    })
    .await;
    assert!(devices(&app).await.is_empty());
    let problem = app.get("/readyz").await.problem(503, "not_ready");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("log")), "{problem}");
    let log = app.log();
    assert!(
        log.contains("cannot be used") && log.contains("next attempt in 500ms") && log.contains("next attempt in 1s"),
        "{log}"
    );
    let job = app.job(&id).await;
    assert_eq!((&job["status"], app.event_kinds(&id).await), (&"queued".into(), vec!["queued".to_owned()]));

    // A sound one beside it does the job.
    let _sound = OtherWorker::start(&app, &[], &[]).await;
    assert_eq!(app.finished(&id, LONG).await["status"], "succeeded");
    assert_eq!(app.get("/readyz").await.status, 200);
    app.examine().await;
}

#[tokio::test]
async fn a_worker_that_cannot_compute_ends_with_a_word_on_the_fix() {
    let app = TestApp::without_workers().await;
    for (args, environment, words) in [
        (["--device", "cpu"], ("FAILPOINTS", "open=return"), "cpu cannot be used"),
        (["--device", "cpu"], ("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so"), "scripts/setup"),
    ] {
        let mut worker = OtherWorker::start(&app, &args, &[environment]).await;
        assert_eq!(worker.ended(Duration::from_secs(120)).await.code(), Some(3), "{environment:?}");
        let log = std::fs::read_to_string(app.dir.path().join("worker.log")).expect("a log");
        assert!(log.contains("takes no tasks") && log.contains(words), "{environment:?}: {log}");
    }
    assert!(devices(&app).await.is_empty());
}

/// It passed the door and cannot open its device for a task: nothing is lost but the worker.
#[tokio::test]
async fn a_device_that_does_not_open_for_a_task_costs_no_attempt() {
    let app = TestApp::without_workers().await;
    let id = app.submit(&quick(&app).await).await;
    let mut worker = OtherWorker::start(&app, &[], &[("FAILPOINTS", "open=1*off->return")]).await;
    assert_eq!(worker.ended(Duration::from_secs(120)).await.code(), Some(1));
    let events = app.events(&id).await;
    let of = |kind: &str| events.iter().filter(|event| event["kind"] == kind).collect::<Vec<_>>();
    assert_eq!((of("task_failed").len(), of("task_released").len()), (0, 1), "{events:?}");
    assert!(of("task_released")[0]["detail"]["reason"].as_str().is_some_and(|reason| reason.contains("opened")));
    let _sound = OtherWorker::start(&app, &[], &[]).await;
    assert_eq!(app.finished(&id, LONG).await["status"], "succeeded");
    let starts = app.events(&id).await;
    assert!(starts.iter().filter(|event| event["kind"] == "task_started").all(|event| event["detail"]["attempt"] == 1));
    app.examine().await;
}

/// A job that a newer service has accepted: its settings hold one that this worker does not know. The worker gives each task back, and
/// the job succeeds once somebody can read it.
#[tokio::test]
async fn a_job_of_a_newer_version_costs_an_older_worker_no_attempt() {
    let app = TestApp::without_workers().await;
    let id = app.submit(&quick(&app).await).await;
    let db = app.database().await;
    let job: JobId = id.parse().expect("an id");
    let set = async |text: &'static str| {
        sqlx::query(text).bind(job).execute(db.pool()).await.expect("set");
    };
    set("update job set config = config || '{\"of_tomorrow\": true}' where id = $1").await;
    let _older = OtherWorker::start(&app, &[], &[]).await;
    let given_back = async || app.events(&id).await.iter().filter(|event| event["kind"] == "task_released").count();
    app.until("a task is given back", LONG, async || given_back().await > 0).await;
    assert_eq!(devices(&app).await[0]["health"], "ok", "nothing is wrong with the worker");
    set("update job set config = config - 'of_tomorrow' where id = $1").await;
    assert_eq!(app.finished(&id, LONG).await["status"], "succeeded");
    let events = app.events(&id).await;
    let of = |kind: &str| events.iter().filter(|event| event["kind"] == kind).collect::<Vec<_>>();
    assert!(of("task_failed").is_empty(), "{events:?}");
    assert!(of("task_started").iter().all(|event| event["detail"]["attempt"] == 1), "{events:?}");
    let reason = &of("task_released")[0]["detail"]["reason"];
    assert!(reason.as_str().is_some_and(|reason| reason.contains("too old")), "{reason}");
    // One that is claimed over and over would fill the job's events.
    assert!(of("task_released").len() < 20, "{events:?}");
    app.examine().await;
}

/// The worker opens its device and fails whatever it is given, at once: memory for no image at all.
#[tokio::test]
async fn a_worker_that_fails_every_task_backs_off_and_says_that_it_is_unhealthy() {
    let mut app = TestApp::without_workers().await;
    app.terminate();
    app.restart_with(&["--workers", "cpu"], &[("FAILPOINTS", "memory=return(0)")]);
    app.until("it is ready", Duration::from_secs(120), async || app.get("/readyz").await.status == 200).await;
    assert_eq!(devices(&app).await[0]["health"], "ok");
    let id = app.submit(&wide(&app, 1).await).await;
    app.until("it is unhealthy", LONG, async || devices(&app).await[0]["health"] == "unhealthy").await;
    let device = devices(&app).await.remove(0);
    let unhealthy = &device["unhealthy"];
    assert!(unhealthy["since"].as_str().is_some_and(|since| since.ends_with('Z')), "{device}");
    let reason = unhealthy["reason"].as_str().expect("a reason");
    assert!(reason.contains("in a row failed") && !reason.contains('/'), "{reason}");
    let problem = app.get("/readyz").await.problem(503, "not_ready");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("unhealthy")), "{problem}");
    assert!(app.log().contains("claiming no tasks for a while"), "{}", app.log());
    app.finished(&id, LONG).await;
    app.examine().await;
}

/// Three jobs, one worker that fails all it gets, one that is sound: every job succeeds.
#[tokio::test]
async fn a_worker_that_fails_fast_beside_a_sound_one_fails_no_job() {
    let app = TestApp::without_workers().await;
    let mut ids = Vec::new();
    for seed in 0..3 {
        ids.push(app.submit(&wide(&app, seed).await).await);
    }
    let broken = OtherWorker::start(&app, &[], &[("FAILPOINTS", "memory=return(0)")]).await;
    app.until("it fails", LONG, async || !devices(&app).await.is_empty()).await;
    let _sound = OtherWorker::start(&app, &[], &[]).await;
    for id in &ids {
        let ended = app.finished(id, LONG).await;
        assert_eq!(ended["status"], "succeeded", "{ended}");
    }
    let failures = "select count(*) from event where kind = 'task_failed'";
    let failures: i64 = sqlx::query_scalar(failures).fetch_one(app.database().await.pool()).await.expect("read");
    assert!(failures > 0, "the broken one had its turn");
    drop(broken);
    app.examine().await;
}
