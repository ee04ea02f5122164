//! Many jobs at once, with nothing going wrong and with everything going wrong. Short in `make test`; `make soak` takes longer.

use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use practised::db::Db;
use practised::private_postgres::running;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::support::networks::TinyResNet;
use crate::support::service::TestApp;

/// A number from the environment, for longer runs.
pub(super) fn asked(name: &str, usual: f64) -> f64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Another process of the service on the same database, without workers.
pub(super) struct SecondService {
    process: Child,
    pub(super) url: String,
}

impl SecondService {
    pub(super) async fn start(app: &TestApp) -> Self {
        use std::io::{BufRead, BufReader};
        // It may have been shut down a moment ago.
        app.until("the database runs", Duration::from_secs(60), async || running(&app.data()).await.is_some()).await;
        let url = running(&app.data()).await.expect("the database runs");
        let mut command = Command::new(env!("CARGO_BIN_EXE_practised"));
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--workers", "0", "--data-dir"])
            .arg(app.dir.path().join("second"));
        let log = std::fs::File::create(app.dir.path().join("second.log")).expect("a log");
        let mut process =
            command.env("DATABASE_URL", url).stdout(Stdio::piped()).stderr(log).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("it says where it listens");
        let url = line.trim().strip_prefix("practised listens on ").expect("an address").to_owned();
        Self { process, url }
    }

    /// Asks it to end, as a rolling restart does; how it ended.
    pub(super) fn stop(mut self) -> ExitStatus {
        kill(Pid::from_raw(self.process.id().cast_signed()), Signal::SIGTERM).expect("it runs");
        self.process.wait().expect("a child of ours")
    }
}

impl Drop for SecondService {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A job of seconds; jobs of one seed share their scores.
pub(super) async fn quick(app: &TestApp) -> Value {
    let mut job = app.quick_job().await;
    job["recoverability"] = json!({"method": "closed_form"});
    job["finetune"] = Value::Null;
    job["exclude_blocks"] = json!(TinyResNet::default().droppable()[2..]);
    job
}

async fn number(db: &Db, query: &'static str) -> f64 {
    sqlx::query_scalar(query).fetch_one(db.pool()).await.expect("read")
}

/// Jobs that nobody has begun; none where the service cannot tell.
async fn waiting(app: &TestApp) -> usize {
    let answer = app.get("/v1/jobs?status=queued&limit=10").await;
    if answer.status == 200 { answer.json()["data"].as_array().map_or(0, Vec::len) } else { 0 }
}

/// Resident memory in MiB.
fn memory(pid: Pid) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages: f64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0.0);
    pages * 4096.0 / f64::from(1 << 20)
}

#[tokio::test]
async fn many_jobs_over_two_services_and_several_workers_are_each_done_once() {
    let (jobs, workers) = (asked("PRACTISED_SOAK_JOBS", 4.0) as usize, asked("PRACTISED_SOAK_WORKERS", 2.0) as usize);
    let app = TestApp::start(&["--workers", &format!("cpu:{workers}")]).await;
    app.until("workers are ready", Duration::from_secs(60), async || app.workers().len() == workers).await;
    let second = SecondService::start(&app).await;
    let mut job = quick(&app).await;
    let began = Instant::now();
    let mut ids = Vec::new();
    for number in 0..jobs {
        job["seed"] = number.into();
        let service = if number % 2 == 0 { &app.url } else { &second.url };
        let answer = app.send(app.http.post(format!("{service}/v1/jobs")).json(&job)).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        ids.push(answer.id());
    }
    for id in &ids {
        let ended = app.finished(id, Duration::from_secs(60 + 30 * jobs as u64)).await;
        assert_eq!(ended["status"], "succeeded", "{ended}");
    }
    let wall = began.elapsed().as_secs_f64();
    let db = app.database().await;
    let twice = "select count(*)::double precision from (
                     select 1 from event where kind = 'task_done' group by job, detail ->> 'task', detail ->> 'block' having count(*) > 1) t";
    assert_eq!(number(&db, twice).await, 0.0, "no task has two effects");
    let overlapping = "select count(*)::double precision from task a join task b on a.worker = b.worker and a.id < b.id
                       and a.started_at < b.finished_at and b.started_at < a.finished_at";
    assert_eq!(number(&db, overlapping).await, 0.0, "no worker has two tasks at once");
    let work = number(
        &db,
        "select sum(extract(epoch from finished_at - started_at))::double precision from task where not reused",
    )
    .await;
    println!(
        "{jobs} jobs, {workers} workers, 2 services: {wall:.0} s; {work:.0} s of tasks are {:.0} s shared by all",
        work / workers as f64
    );
    app.examine().await;
}

#[tokio::test]
async fn random_kills_restarts_and_cancels_leave_nothing_to_find() {
    let minutes = asked("PRACTISED_SOAK_MINUTES", 0.5);
    let app = TestApp::start(&["--workers", "cpu:2"]).await;
    let mut second = SecondService::start(&app).await;
    let mut random = ChaCha8Rng::seed_from_u64(asked("PRACTISED_SOAK_SEED", 30.0) as u64);
    let mut job = quick(&app).await;
    let (began, mut at_first) = (Instant::now(), 0.0);
    let mut ids: Vec<String> = Vec::new();
    let mut counts = [0; 6];
    while began.elapsed().as_secs_f64() < 60.0 * minutes {
        let action = [0, 0, 0, 0, 1, 1, 2, 3, 4][random.random_range(0..9)];
        counts[action] += 1;
        match action {
            // A few wait: the queue is not to grow without end.
            0 if waiting(&app).await < 4 => {
                job["seed"] = random.random_range(0..20).into();
                let service = if random.random() { &app.url } else { &second.url };
                let sent = app.http.post(format!("{service}/v1/jobs")).json(&job).send().await;
                if let Ok(answer) = sent.map_err(|error| assert!(error.is_request() || error.is_connect(), "{error}")) {
                    let status = answer.status().as_u16();
                    assert!([202, 503].contains(&status), "{status}");
                    if status == 202 {
                        ids.push(answer.json::<Value>().await.expect("JSON")["id"].as_str().expect("an id").to_owned());
                    }
                }
            }
            0 => {}
            1 => {
                if let Some(id) = ids.choose(&mut random) {
                    let answer = app.send(app.post(&format!("/v1/jobs/{id}/cancel"))).await;
                    assert!([200, 202, 409, 503].contains(&answer.status), "{answer:?}");
                }
            }
            2 => {
                if let Some(victim) = app.workers().choose(&mut random) {
                    kill(*victim, Signal::SIGKILL).ok();
                }
            }
            3 => second = SecondService::start(&app).await,
            _ => {
                let text = std::fs::read_to_string(app.data().join("postgres/postmaster.pid")).unwrap_or_default();
                if let Some(Ok(pid)) = text.lines().next().map(|pid| pid.trim().parse()) {
                    kill(Pid::from_raw(pid), Signal::SIGQUIT).ok();
                }
                app.until("it is back", Duration::from_secs(60), async || app.get("/readyz").await.status == 200).await;
            }
        }
        if at_first == 0.0 && began.elapsed().as_secs_f64() > 6.0 * minutes {
            at_first = memory(app.pid());
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(200..2500))).await;
    }
    drop(second);
    let mut ends = std::collections::BTreeMap::<String, usize>::new();
    for id in &ids {
        let ended = app.finished(id, Duration::from_secs(600)).await;
        let status = ended["status"].as_str().expect("a status");
        if status == "failed" {
            println!("failed: {}", ended["error"]);
        }
        *ends.entry(status.to_owned()).or_default() += 1;
    }
    let unexpected = ends.keys().any(|status| !["succeeded", "cancelled", "failed"].contains(&status.as_str()));
    assert!(!unexpected && !ids.is_empty(), "{ends:?}");
    let workers: Vec<String> = app.workers().into_iter().map(|pid| format!("{:.0}", memory(pid))).collect();
    println!(
        "{minutes} minutes: {} submits, {} cancels, {} kills, {} restarts of a service, {} of the database; jobs ended {ends:?}; \
         the service has {:.0} MiB, {at_first:.0} early on; workers {}",
        counts[0],
        counts[1],
        counts[2],
        counts[3],
        counts[4],
        memory(app.pid()),
        workers.join(", ")
    );
    app.examine().await;
}
