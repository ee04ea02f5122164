//! The database goes away again and again, its disk is full, its notices are lost.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::service::TestApp;
use crate::support::uploads::image_zip;

/// The postmaster of a service's own database.
fn postmaster(app: &TestApp) -> Option<Pid> {
    let text = std::fs::read_to_string(app.data().join("postgres/postmaster.pid")).ok()?;
    text.lines().next()?.trim().parse().ok().map(Pid::from_raw)
}

/// An immediate shutdown drops every connection in the middle of what it does; the service starts its database again.
#[tokio::test]
async fn the_database_is_restarted_ten_times_under_load_and_every_accepted_job_ends() {
    let app = TestApp::with_worker().await;
    let job = app.quick_job().await;
    let mut accepted = vec![app.submit(&job).await];
    let mut away = 0;
    for round in 0..10 {
        let before = postmaster(&app).expect("it runs");
        kill(before, Signal::SIGQUIT).expect("stopped at once");
        let since = Instant::now();
        // All the time somebody reads and somebody submits, if seldom: every job is run to its end.
        while since.elapsed() < Duration::from_secs(2) || postmaster(&app).is_none_or(|now| now == before) {
            assert!(since.elapsed() < Duration::from_secs(60), "it is started again");
            let read = app.get(&format!("/v1/jobs/{}", accepted[0])).await;
            let asked = if round % 4 == 0 && accepted.len() < 2 + round {
                Some(app.post_json("/v1/jobs", &job).await)
            } else {
                None
            };
            for answer in std::iter::once(&read).chain(&asked) {
                if answer.status == 503 {
                    away += 1;
                    assert!(!answer.header("retry-after").is_empty(), "{answer:?}");
                } else {
                    assert!(answer.status < 300, "{answer:?}");
                }
            }
            accepted.extend(asked.filter(|answer| answer.status == 202).map(|answer| answer.id()));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    assert!(away > 0, "it was noticed");
    for id in &accepted {
        let ended = app.finished(id, Duration::from_secs(300)).await;
        assert_eq!(ended["status"], "succeeded", "{ended}");
    }
    app.examine().await;
}

/// Our `pg_notify` is found before PostgreSQL's, and does nothing.
#[tokio::test]
async fn with_every_notice_lost_a_job_starts_within_the_poll_interval() {
    let mut app = TestApp::without_workers().await;
    let db = app.database().await;
    for statement in [
        "create function public.pg_notify(text, text) returns void language sql as $$ select null::void $$",
        "alter role practised set search_path = public, pg_catalog",
    ] {
        sqlx::query(statement).execute(db.pool()).await.expect("done");
    }
    db.close().await;
    app.terminate();
    app.restart(&["--workers", "cpu"]);
    app.until("a worker is ready", Duration::from_secs(30), async || app.get("/readyz").await.status == 200).await;
    // It is looking by now, and finds nothing.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let id = app.submit(&app.quick_job().await).await;
    let submitted = Instant::now();
    app.until("it starts", Duration::from_secs(30), async || app.job(&id).await["status"] == "running").await;
    let db = app.database().await;
    let waited: f64 = sqlx::query_scalar(
        "select extract(epoch from started_at - created_at)::double precision from job where id = $1::uuid",
    )
    .bind(&id)
    .fetch_one(db.pool())
    .await
    .expect("read");
    // The interval, and what a busy machine takes beside it.
    assert!(waited < 2.0 + 2.0, "{waited} s, seen after {:?}", submitted.elapsed());
}

/// A small file system of its own; `None` where this user may not mount one.
struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    fn mount(at: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(at).expect("made");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"]).arg(at).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self { at: at.to_owned() });
        }
        println!("skipped: cannot mount a small file system");
        None
    }

    /// Fills it up, but for this many bytes.
    fn fill(&self, left: u64) -> PathBuf {
        let stat = nix::sys::statvfs::statvfs(&self.at).expect("a file system");
        let free = stat.blocks_available() * stat.fragment_size();
        let ballast = self.at.join("ballast");
        std::fs::write(&ballast, vec![1; free.saturating_sub(left) as usize]).expect("filled");
        ballast
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

/// Reads, cancels and deletes go on; the next upload after freeing works.
async fn bears_a_full_disk(app: &TestApp, fill: impl FnOnce() -> PathBuf) {
    let images = app.upload_images(12, 8).await;
    let unused = app.upload_images(14, 8).await;
    let mut job = app.quick_job().await;
    job["images"] = images.clone().into();
    let id = app.submit(&job).await;
    let ballast = fill();
    let many = image_zip(60, 128);
    assert!(many.len() > 2 << 20);
    let refused = app.post_bytes("/v1/image-sets", "application/zip", many.clone()).await;
    let problem = refused.problem(507, "disk_full");
    assert_eq!(problem["retryable"], true, "{problem}");
    assert_eq!(app.job(&id).await["status"], "queued", "reads work");
    assert_eq!(app.get(&format!("/v1/models/{}/content", job["model"].as_str().expect("an id"))).await.status, 200);
    assert_eq!(app.post(&format!("/v1/jobs/{id}/cancel")).send().await.expect("answers").status(), 200);
    assert_eq!(app.delete(&format!("/v1/image-sets/{unused}")).await.status, 204);
    app.examine().await;
    std::fs::remove_file(ballast).expect("freed");
    let taken = app.post_bytes("/v1/image-sets", "application/zip", many).await;
    assert_eq!(taken.status, 201, "{taken:?}");
    app.examine().await;
}

#[tokio::test]
async fn a_full_spool_is_said_and_nothing_half_written_stays() {
    let mut app = TestApp::without_workers().await;
    app.terminate();
    let Some(disk) = SmallDisk::mount(&app.data().join("spool"), "16m") else { return };
    app.restart(&["--workers", "0"]);
    bears_a_full_disk(&app, || disk.fill(1 << 20)).await;
    assert_eq!(app.spooled(), Vec::<PathBuf>::new());
    app.terminate();
}

#[tokio::test]
async fn a_full_disk_of_the_database_is_said_and_nothing_half_written_stays() {
    let mut app = TestApp::without_workers().await;
    app.terminate();
    let cluster = app.data().join("postgres");
    let kept = app.data().join("cluster");
    std::fs::rename(&cluster, &kept).expect("moved");
    let Some(disk) = SmallDisk::mount(&cluster, "256m") else { return };
    // With owners and modes, the folder's own too.
    let copied = Command::new("cp").arg("-a").arg(kept.join(".")).arg(&cluster).status().expect("cp runs");
    assert!(copied.success());
    app.restart(&["--workers", "0"]);
    bears_a_full_disk(&app, || disk.fill(1 << 20)).await;
    app.terminate();
}
