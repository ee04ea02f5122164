//! What HTTP and its neighbours make a client expect: keys for repeated requests, content negotiation, event streams, forms.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::support::networks::TinyResNet;
use crate::support::service::{Answer, TestApp};
use crate::support::uploads;

const OCTETS: &str = "application/octet-stream";

fn keyed(app: &TestApp, path: &str, key: &str) -> reqwest::RequestBuilder {
    app.post(path).header("idempotency-key", key)
}

fn assert_replay(first: &Answer, again: &Answer) {
    assert_eq!((again.status, &again.bytes), (first.status, &first.bytes), "the same answer, byte for byte");
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), ("", "true"));
}

#[tokio::test]
async fn an_upload_under_an_idempotency_key_is_answered_once() {
    let app = TestApp::without_workers().await;
    let (one, other) = (TinyResNet::default().bytes(), TinyResNet { seed: 8, ..TinyResNet::default() }.bytes());
    let post = async |path: &str, bytes: &[u8]| app.send(keyed(&app, path, "upload").body(bytes.to_vec())).await;
    let first = post("/v1/models", &one).await;
    assert_eq!(first.status, 201, "{first:?}");
    assert_replay(&first, &post("/v1/models", &one).await);
    post("/v1/models", &other).await.problem(422, "idempotency_key_reused");
    post("/v1/models?name=other", &one).await.problem(422, "idempotency_key_reused");
    assert_eq!(app.get("/v1/models").await.json()["data"].as_array().map(Vec::len), Some(1));
    // Known bytes under another key: that answer, too, is kept as it was.
    let known = app.send(keyed(&app, "/v1/models", "second").body(one.clone())).await;
    assert_eq!((known.status, known.id()), (200, first.id()));
    assert_eq!(app.delete(&format!("/v1/models/{}", first.id())).await.status, 204);
    assert_replay(&first, &post("/v1/models", &one).await);
    assert_replay(&known, &app.send(keyed(&app, "/v1/models", "second").body(one.clone())).await);

    let set = |seed| uploads::zip(&[("a.png", uploads::png(8, seed))]);
    let send = async |seed| {
        let request = keyed(&app, "/v1/image-sets", "upload").header("content-type", "application/zip").body(set(seed));
        app.send(request).await
    };
    let first = send(1).await;
    assert_eq!(first.status, 201, "the key counts for each path: {first:?}");
    assert_replay(&first, &send(1).await);
    send(2).await.problem(422, "idempotency_key_reused");
    let two = keyed(&app, "/v1/models", "a").header("idempotency-key", "b").body(one.clone());
    app.send(two).await.problem(400, "bad_request");
}

#[tokio::test]
async fn an_api_key_under_an_idempotency_key_is_made_and_shown_once() {
    let app = TestApp::without_workers().await;
    let body = json!({ "tenant": "acme" });
    let post = async |body: &Value| app.send(keyed(&app, "/v1/api-keys", "key").json(body)).await;
    let made = post(&body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let secret = made.json()["key"].as_str().expect("the key").to_owned();
    for _ in 0..2 {
        let again = post(&body).await;
        let problem = again.problem(409, "api_key_made");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(&made.id())), "{problem}");
        assert!(!String::from_utf8_lossy(&again.bytes).contains(&secret));
    }
    post(&json!({ "tenant": "rival" })).await.problem(422, "idempotency_key_reused");
    assert_eq!(app.get("/v1/api-keys").await.json()["data"].as_array().map(Vec::len), Some(1));
    let kept: Vec<String> = sqlx::query_scalar("select idempotency_key::text from idempotency_key")
        .fetch_all(app.database().await.pool())
        .await
        .expect("read");
    assert!(kept.len() == 1 && !kept[0].contains(&secret), "the secret is in no row: {kept:?}");
    assert_ne!(app.post_json("/v1/api-keys", &body).await.id(), made.id(), "without a key, each request makes one");
}

#[tokio::test]
async fn a_packed_body_is_refused_with_what_is_taken() {
    let app = TestApp::without_workers().await;
    for (path, kind) in [
        ("/v1/jobs", "application/json"),
        ("/v1/models", OCTETS),
        ("/v1/models", "multipart/form-data; boundary=x"),
        ("/v1/image-sets", "application/zip"),
        ("/v1/api-keys", "application/json"),
    ] {
        for coding in ["gzip", "GZIP", "identity, gzip", "br"] {
            let request = app.post(path).header("content-type", kind).header("content-encoding", coding);
            let answer = app.send(request.body(vec![0x1f, 0x8b, 8, 0])).await;
            answer.problem(415, "unsupported_media_type");
            assert_eq!(answer.header("accept-encoding"), "identity", "{path} {coding}");
        }
    }
    let plain = app.post("/v1/models").header("content-type", OCTETS).header("content-encoding", "identity");
    assert_eq!(app.send(plain.body(TinyResNet::default().bytes())).await.status, 201);
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/json"] {
        app.post_bytes("/v1/jobs", kind, b"{}".to_vec()).await.problem(415, "unsupported_media_type");
        app.post_bytes("/v1/api-keys", kind, b"{}".to_vec()).await.problem(415, "unsupported_media_type");
    }
    app.post_bytes("/v1/jobs", "Application/JSON; charset=utf-8", b"{}".to_vec()).await.problem(422, "invalid_job");
}

/// What a browser sends of a file field that nothing was chosen for.
fn left_empty() -> Part {
    Part::bytes(Vec::new()).file_name("")
}

#[tokio::test]
async fn a_file_field_that_was_left_empty_counts_as_absent() {
    let app = TestApp::without_workers().await;
    let post = async |path: &str, form: Form| app.send(app.post(path).multipart(form)).await;
    let network = || Part::bytes(TinyResNet::default().bytes()).file_name("tiny.onnx");
    let form = Form::new().part("file", left_empty()).part("file", network()).text("note", "");
    assert_eq!(post("/v1/models", form).await.status, 201);
    let none = post("/v1/models", Form::new().part("file", left_empty())).await.problem(400, "invalid_multipart");
    assert!(none["detail"].as_str().is_some_and(|detail| detail.contains("no file")), "{none}");
    // A file that was chosen and holds nothing is a mistake.
    let empty = Form::new().part("file", Part::bytes(Vec::new()).file_name("tiny.onnx"));
    post("/v1/models", empty).await.problem(400, "empty_body");

    let image = |name: &str, seed| Part::bytes(uploads::png(8, seed)).file_name(name.to_owned());
    let form = Form::new().part("archive", left_empty()).part("image", image("a.png", 1)).part("image", left_empty());
    let answer = post("/v1/image-sets", form.part("labels", left_empty())).await;
    assert_eq!((answer.status, &answer.json()["images"]), (201, &1.into()), "{answer:?}");
    let nothing = Form::new().part("archive", left_empty()).part("labels", left_empty());
    post("/v1/image-sets", nothing).await.problem(400, "invalid_multipart");
}

#[tokio::test]
async fn an_event_stream_is_asked_for_in_any_spelling_and_ends_for_good() {
    let app = TestApp::without_workers().await;
    let id = app.submit(&app.quick_job().await).await;
    assert_eq!(app.send(app.post(&format!("/v1/jobs/{id}/cancel"))).await.status, 200);
    let path = app.path(&format!("/v1/jobs/{id}/events"));
    let last = app.events(&id).await.len().to_string();
    let ask = async |accept: &str, seen: Option<&str>| {
        let request = app.http.get(&path).header("accept", accept).timeout(Duration::from_secs(30));
        app.send(seen.into_iter().fold(request, |request, seen| request.header("last-event-id", seen))).await
    };
    for accept in ["text/event-stream", "TEXT/EVENT-STREAM", "application/json;q=0.5, Text/Event-Stream; charset=utf-8"]
    {
        let whole = ask(accept, None).await;
        assert_eq!((whole.status, whole.header("content-type")), (200, "text/event-stream"), "{accept}");
        let text = String::from_utf8(whole.bytes).expect("text");
        assert!(text.starts_with("retry: 2000\n") && text.contains("event: cancelled"), "{text}");
        assert_eq!(ask(accept, Some(&last)).await.status, 204, "a browser that has seen all does not come again");
        assert_eq!(ask(accept, Some("99")).await.status, 204);
    }
    assert_eq!(
        app.send(app.http.get(format!("{path}?after={last}")).header("accept", "text/event-stream")).await.status,
        204
    );
    for accept in ["application/json", "*/*", "text/event-stream;q=0", "application/json, text/event-stream;q=0.5", ""]
    {
        assert_eq!(ask(accept, Some(&last)).await.json()["object"], "list", "{accept}");
    }
}

#[tokio::test]
async fn a_wrong_query_is_told_in_plain_words() {
    let app = TestApp::without_workers().await;
    for (query, words) in [
        ("limit=many", "limit is \"many\": give a number from 1 to 200"),
        ("limit=99999999999999999999", "a number from 1 to 200"),
        ("after=x", "after is \"x\""),
        ("order=up", "asc or desc"),
        ("status=gone", "queued, running, succeeded"),
        ("limit=1&limit=2", "limit is given twice"),
        ("limt=3", "there is no parameter \"limt\"; known parameters: after, limit, order"),
        ("model=%00", "a model's id"),
    ] {
        let problem = app.get(&format!("/v1/jobs?{query}")).await.problem(400, "invalid_query");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(words)), "{query}: {problem}");
    }
}

#[tokio::test]
async fn an_id_that_no_log_could_be_searched_for_is_replaced() {
    let app = TestApp::without_workers().await;
    for (given, kept) in [("mine-42", true), ("", false), ("a b", false), ("\u{e4}", false), (&*"x".repeat(129), false)]
    {
        let answer = app.send(app.http.get(app.path("/v1/nothing")).header("x-request-id", given)).await;
        let id = answer.problem(404, "unknown_route")["request_id"].as_str().expect("an id").to_owned();
        assert_eq!((id == given, answer.header("x-request-id")), (kept, id.as_str()), "{given:?}");
    }
}

fn run(args: &[&str], url: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_practised"));
    command.args(args).env("DATABASE_URL", url).output().expect("runs")
}

#[tokio::test]
async fn a_database_that_cannot_be_reached_is_told_with_its_place_cause_and_fix() {
    // Nobody listens on port 1.
    let url = "postgres://someone:hushhush@127.0.0.1:1/jobs";
    let data = tempfile::tempdir().expect("a folder");
    let folder = data.path().to_str().expect("text");
    let serve = ["serve", "--workers", "0", "--listen", "127.0.0.1:0", "--data-dir", folder];
    let checks: [&[&str]; 4] = [&serve, &["migrate"], &["keys", "list"], &["doctor"]];
    for args in checks {
        let output = run(args, url);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        for word in ["\"jobs\" at 127.0.0.1:1", "refused", "start PostgreSQL there", "DATABASE_URL"] {
            assert!(said.contains(word), "{args:?}: {word} is not in {said}");
        }
        assert!(!said.contains("hushhush") && !said.contains("pool"), "{args:?}: {said}");
    }
    let unreadable = run(&["migrate"], "mysql//nothing");
    assert!(String::from_utf8_lossy(&unreadable.stderr).contains("postgres://USER:PASSWORD@HOST"), "{unreadable:?}");
}

#[tokio::test]
async fn a_worker_says_what_it_waits_for_and_a_missing_database_is_told() {
    let app = TestApp::without_workers().await;
    let url = practised::private_postgres::running(&app.data()).await.expect("the database runs");
    let missing = run(&["migrate"], &url.replace("practised", "nothing"));
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    if url.matches("practised").count() == 1 {
        assert!(said.contains("\"nothing\"") && said.contains("createdb"), "{said}");
    }
    let log = app.dir.path().join("waiting.log");
    let mut worker = Command::new(env!("CARGO_BIN_EXE_practised"))
        .args(["worker"])
        .env("DATABASE_URL", "postgres://someone:hushhush@127.0.0.1:1/jobs")
        .stderr(std::fs::File::create(&log).expect("a log"))
        .stdin(Stdio::null())
        .spawn()
        .expect("starts");
    let told = || std::fs::read_to_string(&log).unwrap_or_default();
    app.until("it says what it waits for", Duration::from_secs(60), async || told().contains("127.0.0.1:1")).await;
    worker.kill().expect("it runs");
    worker.wait().expect("it ends");
    assert!(told().contains("refused") && !told().contains("hushhush"), "{}", told());
}
