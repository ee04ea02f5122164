//! Clients that send nothing, half of something, or read nothing, and too many of them.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::raw::Raw;
use crate::support::service::TestApp;

/// Each long enough for a busy machine to send what is to come in time, and short enough to be waited for.
const SHORT: [&str; 8] =
    ["--header-timeout", "2", "--body-timeout", "2", "--write-timeout", "2", "--keep-alive-timeout", "2"];

async fn short() -> TestApp {
    TestApp::start(&[&["--workers", "0"], &SHORT[..]].concat()).await
}

/// With places for few connections, none of which the tests take without saying so.
async fn scarce(limits: &[&str]) -> TestApp {
    TestApp::start(&[&["--workers", "0"], limits].concat()).await.keeping_no_connections()
}

/// A connection whose request is in the middle of its body, so in use. The service may need a moment to see that a place is free.
pub(super) async fn in_use(app: &TestApp) -> Raw {
    let request = "POST /v1/models HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 1000\r\n\r\n";
    for _ in 0..200 {
        let mut connection = Raw::connect(app).await;
        connection.send(request).await;
        match connection.head().await.status {
            100 => return connection,
            503 => tokio::time::sleep(Duration::from_millis(100)).await,
            status => panic!("{status}"),
        }
    }
    panic!("there is no place for it");
}

#[tokio::test]
async fn silence_and_half_a_head_are_closed() {
    let app = short().await;
    let (mut silent, mut half, mut line, mut trickle) =
        (Raw::connect(&app).await, Raw::connect(&app).await, Raw::connect(&app).await, Raw::connect(&app).await);
    half.send("GET /healthz HTTP/1.1\r\nhost: localhost\r\n").await;
    line.send("\r\n").await;
    let long = format!("GET /healthz HTTP/1.1\r\nx: {}", "x".repeat(400));
    trickle.trickle(long.as_bytes(), Duration::from_millis(50)).await;
    assert!(silent.rest().await.is_empty(), "who has asked for nothing is told nothing");
    for late in [&mut half, &mut line] {
        let response = late.response().await;
        assert_eq!((response.status, response.code().as_str()), (408, "request_timeout"));
        assert_eq!(response.header("connection"), Some("close"));
        assert!(late.rest().await.is_empty());
    }
    // It was cut off while it sent, so that the last word may be lost.
    trickle.rest().await;
}

#[tokio::test]
async fn half_a_body_is_answered_with_408_and_a_slow_one_is_waited_for() {
    let app = short().await;
    let post = |path: &str, headers: &str, begin: &str| {
        format!("POST {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n\r\n{begin}")
    };
    let form = "--x\r\ncontent-disposition: form-data; name=\"archive\"; filename=\"a.zip\"\r\n\r\nPK";
    let requests = [
        post("/v1/models", "content-length: 1000", "half of it"),
        post("/v1/models", "content-length: 1000", ""),
        post("/v1/models", "transfer-encoding: chunked", "4\r\nhalf\r\n"),
        post("/v1/models", "transfer-encoding: chunked", "400\r\nhalf"),
        post("/v1/jobs", "content-type: application/json\r\ncontent-length: 1000", "{\"model\": "),
        post("/v1/image-sets", "content-type: multipart/form-data; boundary=x\r\ncontent-length: 1000", form),
    ];
    let late = requests.iter().map(async |request| {
        let mut late = Raw::connect(&app).await;
        late.send(request).await;
        let response = late.response().await;
        assert_eq!((response.status, response.code().as_str()), (408, "request_timeout"), "{request}");
        assert_eq!(response.header("connection"), Some("close"));
        assert!(late.rest().await.is_empty());
    });
    futures::future::join_all(late).await;
    assert_eq!(app.spooled(), Vec::<std::path::PathBuf>::new(), "nothing of them stays");

    let mut refused = Raw::connect(&app).await;
    refused.send(post("/v1/nothing-is-here", "content-length: 1000", "half of it")).await;
    assert_eq!(refused.response().await.code(), "unknown_route", "not for its body");

    let mut trickle = Raw::connect(&app).await;
    trickle.send(post("/v1/models", "content-length: 1000", "")).await;
    trickle.trickle(&[b'x'; 200], Duration::from_millis(50)).await;
    assert!(!trickle.is_open().await || trickle.response().await.status == 408, "a byte now and then is too slow, too");

    let mut slow = Raw::connect(&app).await;
    slow.send(post("/v1/models", "content-length: 24000", "")).await;
    for _ in 0..12 {
        slow.send([b'x'; 2000]).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(slow.response().await.code(), "not_onnx", "it was read to its end");
}

#[tokio::test]
async fn a_request_that_is_answered_before_its_body_is_read_gets_its_whole_answer() {
    let app = TestApp::without_workers().await;
    for size in [20, 300 << 10, 16 << 20] {
        let mut connection = Raw::connect(&app).await;
        connection
            .send(format!("PUT /v1/nothing-is-here HTTP/1.1\r\nhost: localhost\r\ncontent-length: {size}\r\n\r\n"))
            .await;
        // The client sends all before it reads.
        connection.send(vec![b'x'; size]).await;
        let response = connection.response().await;
        assert_eq!((response.status, response.code().as_str()), (404, "unknown_route"), "{size} bytes");
        assert_eq!(response.header("connection"), Some("close"), "no further request comes on it");
        assert!(connection.rest().await.is_empty());
    }
    let mut connection = Raw::connect(&app).await;
    connection.send("GET /healthz HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}").await;
    let response = connection.response().await;
    assert_eq!((response.status, response.header("connection")), (200, Some("close")), "nobody reads a body there");
    assert!(connection.rest().await.is_empty());

    let mut connection = Raw::connect(&app).await;
    for _ in 0..2 {
        connection.send("POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n").await;
        connection.send("content-length: 2\r\n\r\n{}").await;
        assert_eq!(connection.response().await.header("connection"), None, "its body was read");
    }
}

/// A job with an artifact of 32 MiB, more than the buffers of a connection hold.
async fn large_artifact(app: &TestApp) -> String {
    let job = app.submit(&app.quick_job().await).await;
    super::signals::add_artifact(app, &job, 32 << 20).await
}

#[tokio::test]
async fn a_reader_that_does_not_read_is_closed_and_one_that_reads_slowly_is_not() {
    let app = TestApp::start(&["--workers", "0", "--write-timeout", "4"]).await;
    let path = large_artifact(&app).await;
    let get = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let (mut never, mut slow) = (Raw::connect_narrow(&app).await, Raw::connect_narrow(&app).await);
    never.send(&get).await;
    slow.send(&get).await;
    assert_eq!(slow.head().await.status, 200);
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(750)).await;
        slow.take(256 << 10).await;
    }
    assert!(never.rest().await.len() < 30 << 20, "cut off in the middle");
    let rest = slow.rest_of(32 << 20).await;
    assert_eq!(rest, 32 << 20, "all of it came");

    // A client that asks on and on and takes none of the responses.
    let mut pipelined = Raw::connect_narrow(&app).await;
    let many = "GET /v1/errors HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(500_000);
    let sent = tokio::time::timeout(Duration::from_secs(30), pipelined.try_send(many.as_bytes())).await;
    assert!(sent.is_ok(), "closed, not kept for ever");
    pipelined.rest().await;
}

#[tokio::test]
async fn an_event_stream_that_is_read_lives_and_one_that_is_not_read_ends() {
    let app = short().await;
    let job = app.submit(&app.quick_job().await).await;
    let get = format!("GET /v1/jobs/{job}/events HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n");
    let mut read = Raw::connect(&app).await;
    read.send(&get).await;
    read.until("event: queued").await;
    // The comment that keeps it alive comes every 15 s, far beyond all the timeouts here.
    read.until("\n:").await;

    let db = app.database().await;
    let many = "insert into event (job, seq, kind, detail)
                select $1::uuid, n, 'many', jsonb_build_object('text', repeat('x', 2000)) from generate_series(1000, 13000) n";
    sqlx::query(many).bind(&job).execute(db.pool()).await.expect("inserted");
    let mut never = Raw::connect_narrow(&app).await;
    never.send(&get).await;
    read.until("event: many").await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(never.rest().await.len() < 20 << 20, "cut off in the middle");
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_one_that_is_used_is_kept() {
    let app = short().await;
    let (mut idle, mut used) = (Raw::connect(&app).await, Raw::connect(&app).await);
    assert_eq!(idle.get("/healthz").await.status, 200);
    for _ in 0..8 {
        assert_eq!(used.get("/healthz").await.status, 200);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(idle.rest().await.is_empty(), "without a word");
}

/// Asks until it is answered: a new connection may have to wait a second until a silent one makes room.
async fn is_answered(app: &TestApp, path: &str) {
    let within = async || app.http.get(app.path(path)).send().await.is_ok_and(|answer| answer.status() == 200);
    app.until("it is answered", Duration::from_secs(20), within).await;
}

#[tokio::test]
async fn thousands_of_silent_connections_keep_nobody_out() {
    // As where nobody has set anything: the usual soft limit.
    let app = TestApp::start_from_shell("ulimit -Sn 1024", &["--header-timeout", "600"], &[]).await;
    let files = practised::http::listener::raise_open_files();
    let count = 1500.min(files / 4) as usize;
    let mut silent = Vec::new();
    for _ in 0..count {
        silent.push(Raw::connect(&app).await);
    }
    assert!(count > 1015, "this machine allows {files} files");
    let asked = Instant::now();
    assert_eq!(app.get("/healthz").await.status, 200);
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert!(silent[0].is_open().await, "there is room for all");
    assert!(!app.log().contains("cannot accept"), "{}", app.log());
}

#[tokio::test]
async fn with_few_files_the_silent_make_room() {
    let app = TestApp::start_from_shell("ulimit -n 256", &["--header-timeout", "600"], &[]).await;
    assert!(app.log().contains("at most 192 connections instead of 4096"), "{}", app.log());
    let mut silent = Vec::new();
    for _ in 0..400 {
        silent.push(Raw::connect(&app).await);
    }
    is_answered(&app, "/healthz").await;
    is_answered(&app, "/v1/models").await;
    assert_eq!(app.get("/v1/limits").await.json()["connections"]["max"], 192);
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let app = scarce(&["--max-connections", "3"]).await;
    let mut busy = Vec::new();
    for _ in 0..3 {
        busy.push(in_use(&app).await);
    }
    let refused = app.get("/v1/models").await;
    assert_eq!(refused.problem(503, "too_many_connections")["retryable"], true);
    assert_eq!((refused.header("connection"), refused.header("retry-after")), ("close", "5"));
    assert_eq!(app.get("/healthz").await.status, 200, "it lives");
    drop(busy.pop());
    is_answered(&app, "/v1/models").await;

    // The one that waits longest makes room, and the one in use goes on.
    drop(busy.drain(1..));
    let (mut first, mut second) = (Raw::connect(&app).await, Raw::connect(&app).await);
    assert_eq!(second.get("/healthz").await.status, 200);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let mut third = Raw::connect(&app).await;
    assert_eq!(third.get("/v1/models").await.status, 200);
    assert!(first.rest().await.is_empty());
    assert!(busy[0].is_open().await);
}

#[tokio::test]
async fn one_address_may_have_so_many_connections_and_no_more() {
    let app = scarce(&["--max-connections-per-peer", "2"]).await;
    let limits = app.get("/v1/limits").await.json()["connections"].clone();
    assert_eq!(
        (&limits["max"], &limits["max_per_address"], &limits["head_seconds"]),
        (&json!(4096), &json!(2), &json!(10.0))
    );
    let _busy = (in_use(&app).await, in_use(&app).await);
    let refused = app.get("/v1/models").await.problem(503, "too_many_connections");
    assert!(
        refused["detail"].as_str().is_some_and(|detail| detail.contains("--max-connections-per-peer")),
        "{refused}"
    );
    assert_eq!(app.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_lack_of_file_descriptors_is_survived() {
    let app = TestApp::without_workers().await.keeping_no_connections();
    is_answered(&app, "/v1/models").await;
    let pid = app.pid().to_string();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("listed").count();
    let limit = |files: String| {
        let status = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={files}:")]).status();
        assert!(status.expect("prlimit runs").success());
    };
    limit((open + 4).to_string());
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(Raw::connect(&app).await);
    }
    app.until("it has none left", Duration::from_secs(10), async || app.log().contains("cannot accept")).await;
    is_answered(&app, "/healthz").await;
    limit("1024".to_owned());
    app.upload_images(2, 8).await;
}
