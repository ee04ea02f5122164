//! Workers that die at any moment, stop and come back, or have another idea of the time.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::support::service::{OtherWorker, TestApp};

/// What does not depend on when something was computed, by whom, or how often it was begun.
pub(super) fn essence(report: &Value) -> Value {
    let blocks = report["blocks"].as_array().expect("a list").iter();
    let scores: Vec<_> = blocks.map(|block| json!([block["name"], block["recoverability"]])).collect();
    json!([
        report["outcome"],
        report["dropped_blocks"],
        scores,
        report["quality"],
        report["reproduce"]["student_sha256"]
    ])
}

pub(super) async fn report(app: &TestApp, id: &str) -> Value {
    app.get(&format!("/v1/jobs/{id}/report")).await.json()
}

/// How many moments are tried; more with `PRACTISED_KILLS=20`.
fn kills() -> usize {
    std::env::var("PRACTISED_KILLS").ok().and_then(|count| count.parse().ok()).unwrap_or(3)
}

#[tokio::test]
async fn a_worker_killed_at_any_moment_costs_one_task_and_changes_nothing() {
    let app = TestApp::with_worker().await;
    // One block may go, so the same one goes whatever was measured.
    let job = app.quick_job().await;
    let db = app.database().await;
    let forget = async || {
        sqlx::query("delete from score").execute(db.pool()).await.expect("forgotten");
    };
    let began = Instant::now();
    let undisturbed = app.submit(&job).await;
    app.finished(&undisturbed, Duration::from_secs(240)).await;
    let length = began.elapsed();
    let expected = essence(&report(&app, &undisturbed).await);

    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(20);
    let mut noticed: Vec<f64> = Vec::new();
    for kill_number in 0..kills() {
        forget().await;
        let id = app.submit(&job).await;
        tokio::time::sleep(length.mul_f64(random.random_range(0.02..0.95))).await;
        let victim = app.workers().first().copied();
        let at = Instant::now();
        if let Some(victim) = victim {
            kill(victim, Signal::SIGKILL).ok();
        }
        let ended = app.finished(&id, Duration::from_secs(400)).await;
        assert_eq!(ended["status"], "succeeded", "{ended}");
        assert_eq!(essence(&report(&app, &id).await), expected, "kill {kill_number}");
        let events = app.events(&id).await;
        let of = |kind: &str| events.iter().filter(|event| event["kind"] == kind).collect::<Vec<_>>();
        assert!(of("task_rescued").len() <= 1, "{events:?}");
        // No task is done twice: as many are done as there are.
        let mut done: Vec<String> = of("task_done")
            .iter()
            .map(|event| format!("{}{}", event["detail"]["task"], event["detail"]["block"]))
            .collect();
        let all = done.len();
        done.sort();
        done.dedup();
        assert_eq!(done.len(), all, "{events:?}");
        if let Some(rescue) = of("task_rescued").first() {
            let since: f64 = sqlx::query_scalar("select extract(epoch from now() - $1::timestamptz)::double precision")
                .bind(rescue["created_at"].as_str().expect("a time"))
                .fetch_one(db.pool())
                .await
                .expect("asked");
            noticed.push(at.elapsed().as_secs_f64() - since);
        }
    }
    noticed.sort_by(f64::total_cmp);
    if let (Some(median), Some(most)) = (noticed.get(noticed.len() / 2), noticed.last()) {
        println!(
            "{} of {} kills hit a task; taken up again after {median:.2} s (median), {most:.2} s at most",
            noticed.len(),
            kills()
        );
        assert!(*most <= 60.0, "{noticed:?}");
    }
    app.examine().await;
}

/// Stopped, not dead: nobody is told, its lease runs out, another on the same host takes its task, and measures there, too; then
/// it goes on as if nothing had happened.
#[tokio::test]
async fn a_worker_that_comes_back_after_its_lease_changes_no_row() {
    let app = TestApp::start(&["--workers", "cpu"]).await;
    app.until("a worker is ready", Duration::from_secs(30), async || app.get("/readyz").await.status == 200).await;
    let zombie = app.workers()[0];
    let id = app.submit(&app.quick_job().await).await;
    let begun = |event: &Value| event["kind"] == "task_started" && event["detail"]["task"] == "score";
    app.until("it scores", Duration::from_secs(120), async || app.events(&id).await.iter().any(begun)).await;
    kill(zombie, Signal::SIGSTOP).expect("stopped");
    let stopped = Instant::now();
    let host = app.dir.path().join("tmp");
    let mut other = OtherWorker::start(&app, &[], &[("TMPDIR", &host.to_string_lossy())]).await;
    app.until("its task is taken", Duration::from_secs(60), async || {
        app.event_kinds(&id).await.iter().any(|kind| kind == "task_rescued")
    })
    .await;
    println!("noticed after {:.0} s", stopped.elapsed().as_secs_f64());
    let ended = app.finished(&id, Duration::from_secs(240)).await;
    assert_eq!(ended["status"], "succeeded", "{ended}");
    let rows = async || {
        let db = app.database().await;
        let tables = ["job", "task", "event", "report", "artifact", "task_blob", "score"];
        let mut all = Vec::new();
        for table in tables {
            let query = format!("select coalesce(md5(string_agg(t::text, ',' order by t::text)), '') from {table} t");
            let hash: String = sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_one(db.pool()).await.expect("read");
            all.push(hash);
        }
        all
    };
    let before = rows().await;
    kill(zombie, Signal::SIGCONT).expect("goes on");
    // It wakes within its task, looks at its lease, and finds that it is another's.
    app.until("it knows", Duration::from_secs(60), async || app.log().contains("the lease was lost")).await;
    assert_eq!(rows().await, before, "the zombie changes nothing");
    other.kill();
    app.examine().await;
}

/// A library that is loaded before all others and tells another time of the day; clocks that only run on are left alone.
fn other_time(folder: &Path, seconds: i64) -> PathBuf {
    let source = format!(
        "#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <sys/time.h>\n#include <time.h>\n\
         int clock_gettime(clockid_t id, struct timespec *t) {{\n\
         int (*real)(clockid_t, struct timespec *) = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, \"clock_gettime\");\n\
         int r = real(id, t); if (id == CLOCK_REALTIME) t->tv_sec += {seconds}; return r; }}\n\
         int gettimeofday(struct timeval *t, void *z) {{ struct timespec s; clock_gettime(CLOCK_REALTIME, &s);\n\
         t->tv_sec = s.tv_sec; t->tv_usec = s.tv_nsec / 1000; return 0; }}\n\
         time_t time(time_t *t) {{ struct timespec s; clock_gettime(CLOCK_REALTIME, &s); if (t) *t = s.tv_sec; return s.tv_sec; }}\n"
    );
    let (file, library) = (folder.join("time.c"), folder.join(format!("time{seconds}.so")));
    std::fs::write(&file, source).expect("written");
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&file).arg("-ldl").status();
    assert!(built.expect("a C compiler, as the build needs one").success());
    library
}

#[tokio::test]
async fn a_worker_whose_clock_is_an_hour_off_decides_the_same_about_leases() {
    let app = TestApp::without_workers().await;
    for seconds in [-3600, 3600] {
        let library = other_time(app.dir.path(), seconds);
        let shown = Command::new("date").arg("+%s").env("LD_PRELOAD", &library).output().expect("runs").stdout;
        let shown: i64 = String::from_utf8_lossy(&shown).trim().parse().expect("a number");
        let now = time::OffsetDateTime::now_utc().unix_timestamp();
        assert!((shown - now - seconds).abs() < 60, "the clock is off: {shown} against {now}");
        let mut off = OtherWorker::start(&app, &[], &[("LD_PRELOAD", &library.to_string_lossy())]).await;
        let mut job = app.quick_job().await;
        job["seed"] = (4000 + seconds).into();
        let id = app.submit(&job).await;
        let done = app.finished(&id, Duration::from_secs(240)).await;
        assert_eq!(done["status"], "succeeded", "{done}");
        // Its leases were its own from the first to the last, and are as long as any.
        let kinds = app.event_kinds(&id).await;
        assert!(!kinds.iter().any(|kind| kind == "task_rescued" || kind == "task_failed"), "{kinds:?}");
        let started: Vec<Value> =
            app.events(&id).await.into_iter().filter(|event| event["kind"] == "task_started").collect();
        assert!(started.iter().all(|event| event["detail"]["attempt"] == 1), "{started:?}");

        // Held by a worker whose clock says that an hour has passed, a lease is nobody else's.
        job["seed"] = (9000 + seconds).into();
        job["recoverability"]["iterations"] = 100_000.into();
        let held = app.submit(&job).await;
        let begun = |event: &Value| event["kind"] == "task_started" && event["detail"]["task"] == "score";
        app.until("it scores", Duration::from_secs(120), async || app.events(&held).await.iter().any(begun)).await;
        let db = app.database().await;
        let left: f64 = sqlx::query_scalar(
            "select extract(epoch from lease_until - now())::double precision from task where state = 'running' and job = $1::uuid",
        )
        .bind(&held)
        .fetch_one(db.pool())
        .await
        .expect("read");
        assert!((20.0..=45.0).contains(&left), "{left} s");
        off.kill();
        assert_eq!(app.post(&format!("/v1/jobs/{held}/cancel")).send().await.expect("answers").status(), 202);
        app.finished(&held, Duration::from_secs(60)).await;
    }
    app.examine().await;
}
