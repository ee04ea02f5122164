//! SIGTERM lets what is in flight finish; SIGHUP reloads; what is to be ignored is ignored.

use std::time::{Duration, Instant};

use nix::sys::signal::{SigHandler, Signal, kill};
use practised::blobs::put_bytes;
use practised::db::artifacts::{self, ArtifactRow};
use practised::ids::Tenant;
use tokio::net::TcpStream;

use super::listener::in_use;
use crate::support::raw::{Raw, address};
use crate::support::service::{OtherWorker, TestApp};
use crate::support::uploads::image_zip;

/// Gives a job an artifact of this many bytes; its path.
pub(super) async fn add_artifact(app: &TestApp, job: &str, bytes: usize) -> String {
    let db = app.database().await;
    let (id, mut tx) = (job.parse().expect("an id"), db.begin().await.expect("begins"));
    let sha256 = put_bytes(&mut tx, &Tenant::local(), &vec![7; bytes]).await.expect("stored");
    let file = ArtifactRow {
        name: "large.bin".into(),
        media_type: "application/octet-stream".into(),
        sha256,
        size: bytes as i64,
    };
    artifacts::insert(&mut tx, id, &file).await.expect("an artifact");
    tx.commit().await.expect("committed");
    format!("/v1/jobs/{job}/artifacts/large.bin")
}

fn signal(app: &TestApp, signal: Signal) {
    kill(app.pid(), signal).expect("it runs");
}

async fn until_it_takes_no_connection(app: &TestApp) {
    app.until("no connection is taken", Duration::from_secs(5), async || {
        TcpStream::connect(address(app)).await.is_err()
    })
    .await;
}

#[tokio::test]
async fn an_upload_and_a_download_in_flight_outlive_sigterm() {
    let mut app = TestApp::without_workers().await;
    let job = app.submit(&app.quick_job().await).await;
    let path = add_artifact(&app, &job, 32 << 20).await;
    let zip = image_zip(12, 16);
    let (mut upload, mut download) = (Raw::connect(&app).await, Raw::connect_narrow(&app).await);
    let head = format!(
        "POST /v1/image-sets HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/zip\r\ncontent-length: {}\r\n\r\n",
        zip.len()
    );
    upload.send(head).await;
    upload.send(&zip[..zip.len() / 2]).await;
    download.send(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
    assert_eq!(download.head().await.status, 200);
    download.take(1 << 20).await;

    signal(&app, Signal::SIGTERM);
    until_it_takes_no_connection(&app).await;
    // Longer than the five seconds after which everything was cut off once.
    for _ in 0..7 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        download.take(1 << 20).await;
    }
    upload.send(&zip[zip.len() / 2..]).await;
    let stored = upload.response().await;
    assert_eq!(stored.status, 201, "{stored:?}");
    assert_eq!(stored.header("connection"), Some("close"));
    assert_eq!(download.rest_of(32 << 20).await, 32 << 20);
    assert!(app.wait(Duration::from_secs(20)).success(), "{}", app.log());
    assert!(!app.log().contains("cutting"), "{}", app.log());
}

#[tokio::test]
async fn idle_connections_and_event_streams_hold_nothing_up() {
    let mut app = TestApp::without_workers().await;
    let job = app.submit(&app.quick_job().await).await;
    let (mut silent, mut idle, mut half) =
        (Raw::connect(&app).await, Raw::connect(&app).await, Raw::connect(&app).await);
    assert_eq!(idle.get("/healthz").await.status, 200);
    half.send("GET /healthz HTTP/1.1\r\n").await;
    let mut events = Raw::connect(&app).await;
    events
        .send(format!("GET /v1/jobs/{job}/events HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n"))
        .await;
    events.until("event: queued").await;
    let asked = Instant::now();
    signal(&app, Signal::SIGTERM);
    assert!(silent.rest().await.is_empty() && idle.rest().await.is_empty());
    assert!(events.rest().await.ends_with(b"0\r\n\r\n"), "its end is a clean one");
    half.rest().await;
    assert!(app.wait(Duration::from_secs(20)).success());
    assert!(
        asked.elapsed() < Duration::from_secs(15),
        "{:?}: far less than what is in flight may take",
        asked.elapsed()
    );
}

#[tokio::test]
async fn what_never_ends_is_cut_off_after_the_drain() {
    let mut app = TestApp::start(&["--workers", "0", "--drain-seconds", "1"]).await;
    let mut upload = in_use(&app).await;
    signal(&app, Signal::SIGTERM);
    assert!(upload.rest().await.is_empty());
    assert!(app.wait(Duration::from_secs(20)).success());
    assert!(app.log().contains("cutting"), "{}", app.log());
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut app = TestApp::without_workers().await;
    let mut upload = in_use(&app).await;
    signal(&app, Signal::SIGTERM);
    until_it_takes_no_connection(&app).await;
    signal(&app, Signal::SIGHUP);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(upload.is_open().await, "SIGHUP is no second one");
    signal(&app, Signal::SIGTERM);
    assert_eq!(app.wait(Duration::from_secs(10)).code(), Some(130));
}

#[tokio::test]
async fn what_is_to_be_ignored_stays_ignored() {
    // As under nohup, and in the background of a shell without job control.
    let mut app = TestApp::start_from_shell("trap '' HUP INT", &[], &[]).await;
    signal(&app, Signal::SIGHUP);
    signal(&app, Signal::SIGINT);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(app.get("/healthz").await.status, 200);
    assert!(!app.log().contains("SIGHUP") && !app.log().contains("SIGINT"), "{}", app.log());
    let status = std::fs::read_to_string(format!("/proc/{}/status", app.pid())).expect("read");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("a line");
    let ignored = u64::from_str_radix(ignored.trim(), 16).expect("a mask");
    assert_eq!(ignored & 0b11, 0b11, "SIGHUP is 1, SIGINT 2");
    assert!(app.terminate().success(), "SIGTERM ends it all the same");
}

/// What is started from here on hears SIGHUP, even if these tests were started under `nohup`: a program inherits that it is ignored.
fn hear_hangups() {
    // SAFETY: the default action is no handler, so nothing of ours runs in it.
    unsafe { nix::sys::signal::signal(Signal::SIGHUP, SigHandler::SigDfl) }.expect("set");
}

#[tokio::test]
async fn sighup_reads_the_log_filter_again_and_ends_nothing() {
    hear_hangups();
    let filter = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(filter.path(), "warn\n").expect("written");
    let path = filter.path().to_str().expect("text");
    let mut app = TestApp::start_from_shell(":", &[], &[("PRACTISED_LOG_FILTER_FILE", path)]).await;
    assert!(!app.log().contains("INFO"), "{}", app.log());
    std::fs::write(filter.path(), "info\n").expect("written");
    signal(&app, Signal::SIGHUP);
    app.until("it was read", Duration::from_secs(10), async || app.log().contains("the log filter was read from"))
        .await;
    std::fs::write(filter.path(), "no=such=filter\n").expect("written");
    signal(&app, Signal::SIGHUP);
    app.until("it was not taken", Duration::from_secs(10), async || app.log().contains("the log filter is unchanged"))
        .await;
    assert_eq!(app.get("/healthz").await.status, 200);
    assert!(app.terminate().success());
    app.restart(&["--workers", "0"]);
    signal(&app, Signal::SIGHUP);
    app.until("it says so", Duration::from_secs(10), async || app.log().contains("nothing to reload")).await;
    assert_eq!(app.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_worker_goes_on_after_sighup() {
    hear_hangups();
    let app = TestApp::without_workers().await;
    let mut worker = OtherWorker::start(&app, &[], &[]).await;
    let live =
        async || app.get("/readyz").await.json()["workers"].as_array().is_some_and(|workers| !workers.is_empty());
    app.until("it is there", Duration::from_secs(30), live).await;
    worker.signal(Signal::SIGHUP);
    let log = || std::fs::read_to_string(app.dir.path().join("worker.log")).unwrap_or_default();
    app.until("it says so", Duration::from_secs(10), async || log().contains("nothing to reload")).await;
    worker.terminate();
    assert!(worker.ended(Duration::from_secs(60)).await.success(), "{}", log());
}
