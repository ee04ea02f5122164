//! What happens when parts of the service die or are asked to end.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use practised::queue::MAX_CRASHES;

use crate::support::service::TestApp;

/// The only worker, once it runs.
async fn worker(app: &TestApp) -> Pid {
    app.until("there is a worker", Duration::from_secs(30), async || !app.workers().is_empty()).await;
    app.workers()[0]
}

/// Waits until a worker has begun with a score.
async fn until_it_scores(app: &TestApp, id: &str) {
    let begun = |event: &serde_json::Value| event["kind"] == "task_started" && event["detail"]["task"] == "score";
    app.until("it scores", Duration::from_secs(120), async || app.events(id).await.iter().any(begun)).await;
}

#[tokio::test]
async fn a_job_survives_the_death_of_its_worker() {
    let app = TestApp::with_worker().await;
    let mut job = app.quick_job().await;
    // Long enough to be hit, short enough to be waited for.
    job["recoverability"]["iterations"] = 40.into();
    let id = app.submit(&job).await;
    until_it_scores(&app, &id).await;
    let victim = worker(&app).await;
    kill(victim, Signal::SIGKILL).expect("killed");
    let ended = app.finished(&id, Duration::from_secs(400)).await;
    assert_eq!(ended["status"], "succeeded", "{ended}");
    let kinds = app.event_kinds(&id).await;
    assert!(kinds.iter().any(|kind| kind == "task_rescued"), "{kinds:?}");
    assert!(!app.workers().contains(&victim));
}

/// The waits between, of two minutes together, are passed over here.
#[tokio::test]
async fn a_task_that_kills_its_worker_every_time_fails_the_job_with_a_clear_word() {
    let app = TestApp::with_worker().await;
    let id = app.submit(&app.long_job().await).await;
    until_it_scores(&app, &id).await;
    let db = app.database().await;
    for crash in 1..=MAX_CRASHES {
        let begun = async || {
            let over = "update task set lease_until = lease_until - interval '1 hour' where lease_until < now()";
            sqlx::query(over).execute(db.pool()).await.expect("time passes");
            let kinds = app.event_kinds(&id).await;
            kinds.iter().filter(|kind| *kind == "task_rescued").count() as i32 == crash - 1
        };
        app.until("the attempt began", Duration::from_secs(90), begun).await;
        let victim = worker(&app).await;
        kill(victim, Signal::SIGKILL).expect("killed");
        app.until("the worker is gone", Duration::from_secs(5), async || !app.workers().contains(&victim)).await;
    }
    let ended = app.finished(&id, Duration::from_secs(30)).await;
    assert_eq!((&ended["status"], &ended["error"]["code"]), (&"failed".into(), &"task_crashed".into()), "{ended}");
    assert!(ended["error"]["detail"].as_str().is_some_and(|detail| detail.contains("score of block")), "{ended}");
    let next = app.submit(&app.quick_job().await).await;
    assert_eq!(app.finished(&next, Duration::from_secs(240)).await["status"], "succeeded", "no neighbour suffers");
}

#[tokio::test]
async fn sigterm_ends_everything_in_time_and_spends_no_attempt() {
    let mut app = TestApp::with_worker().await;
    let id = app.submit(&app.long_job().await).await;
    until_it_scores(&app, &id).await;
    let device = app.get("/v1/devices").await.json()["data"][0].clone();
    assert_eq!(
        (&device["state"], &device["task"], &device["job"]),
        (&"busy".into(), &"score".into(), &id.as_str().into())
    );
    assert!(app.processes().len() >= 3, "service, worker, PostgreSQL: {:?}", app.processes());
    let asked = Instant::now();
    let status = app.terminate();
    assert!(status.success(), "{status}\n{}", app.log());
    assert!(asked.elapsed() < Duration::from_secs(30));
    assert_eq!(app.processes(), [], "no process is left");
    assert!(!app.dir.path().join("data/run").exists(), "no socket is left");
    assert!(app.log().contains("released"), "the task was given back: {}", app.log());

    // The next start goes on with it, on its first attempt.
    app.restart(&["--workers", "cpu"]);
    app.until("it is taken up again", Duration::from_secs(60), async || {
        let events = app.events(&id).await;
        let starts =
            events.iter().filter(|event| event["kind"] == "task_started" && event["detail"]["task"] == "score");
        let attempts: Vec<_> = starts.map(|event| event["detail"]["attempt"].clone()).collect();
        attempts.len() == 2 && attempts.iter().all(|attempt| attempt == 1)
    })
    .await;
}

#[tokio::test]
async fn sigkill_of_the_service_leaves_no_process_either() {
    let mut app = TestApp::with_worker().await;
    let id = app.submit(&app.long_job().await).await;
    until_it_scores(&app, &id).await;
    kill(app.pid(), Signal::SIGKILL).expect("killed");
    app.wait(Duration::from_secs(5));
    app.until("nothing is left", Duration::from_secs(20), async || app.processes().is_empty()).await;
    // And the data is as it was committed.
    app.restart(&["--workers", "0"]);
    assert_eq!(app.job(&id).await["status"], "running");
}

#[tokio::test]
async fn without_its_database_the_service_says_when_to_come_again() {
    let app = TestApp::without_workers().await;
    let pid_file = app.dir.path().join("data/postgres/postmaster.pid");
    let pid = std::fs::read_to_string(&pid_file).expect("it runs").lines().next().and_then(|pid| pid.parse().ok());
    let postgres = Pid::from_raw(pid.expect("a number"));
    // Stopped, not dead: it takes connections and does not answer.
    kill(postgres, Signal::SIGSTOP).expect("stopped");
    for child in children_of(postgres) {
        kill(child, Signal::SIGKILL).ok();
    }
    let answer = app.get("/v1/models").await;
    kill(postgres, Signal::SIGCONT).expect("continued");
    let problem = answer.problem(503, "database_unavailable");
    assert_eq!(problem["retryable"], true);
    assert!(!answer.header("retry-after").is_empty());
    assert_eq!(app.get("/healthz").await.status, 200);
    app.until("it is back", Duration::from_secs(30), async || app.get("/readyz").await.status == 200).await;
}

fn children_of(parent: Pid) -> Vec<Pid> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect()
}
