//! Jobs from submission to their end.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use practised::hash::sha256_hex;
use serde_json::{Value, json};

use crate::support::networks::TinyResNet;
use crate::support::service::TestApp;

#[tokio::test]
async fn a_network_goes_in_and_comes_back_smaller_with_a_report() {
    let app = TestApp::with_worker().await;
    let mut job = app.quick_job().await;
    job.as_object_mut().expect("an object").remove("exclude_blocks");
    let answer = app.post_json("/v1/jobs", &job).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let id = answer.id();
    assert_eq!(answer.header("location"), format!("/v1/jobs/{id}"));
    let accepted = answer.json();
    assert_eq!((&accepted["status"], &accepted["done"]), (&"queued".into(), &false.into()));
    assert_eq!(accepted["config"]["finetune"]["steps"], 3, "what was resolved is echoed: {accepted}");
    assert_eq!(accepted["config"]["exclude_blocks"], json!([]));

    let ended = app.finished(&id, Duration::from_secs(240)).await;
    assert_eq!((&ended["status"], &ended["outcome"]), (&"succeeded".into(), &"target_met".into()), "{ended}");
    assert_eq!(ended["progress"]["done"], ended["progress"]["total"]);
    let kinds = app.event_kinds(&id).await;
    assert_eq!((kinds[0].as_str(), kinds.last().map(String::as_str)), ("queued", Some("succeeded")), "{kinds:?}");

    let report = app.get(&format!("/v1/jobs/{id}/report")).await.json();
    assert_eq!(report["dropped_blocks"].as_array().map(Vec::len), Some(1), "{report}");
    let phases: BTreeSet<&str> =
        report["cost"]["phases"].as_object().expect("phases").keys().map(String::as_str).collect();
    assert!(phases.is_superset(&BTreeSet::from(["measure", "score", "select", "finetune"])), "{phases:?}");
    let blocks = app.get(&format!("/v1/jobs/{id}/blocks")).await.json();
    assert_eq!(blocks["data"], report["blocks"]);

    let artifacts = app.get(&format!("/v1/jobs/{id}/artifacts")).await.json();
    let names: Vec<&str> =
        artifacts["data"].as_array().expect("a list").iter().filter_map(|file| file["name"].as_str()).collect();
    for wanted in ["student.onnx", "student_before_finetune.onnx", "report.json"] {
        assert!(names.contains(&wanted), "{names:?}");
    }
    for file in artifacts["data"].as_array().expect("a list") {
        let got = app.get(file["href"].as_str().expect("a path")).await;
        assert_eq!((got.status, sha256_hex(&got.bytes).as_str()), (200, file["sha256"].as_str().expect("a hash")));
        assert_eq!(got.header("content-length"), file["bytes"].to_string());
    }
    app.get(&format!("/v1/jobs/{id}/artifacts/nothing.txt")).await.problem(404, "artifact_not_found");
    let student = app.get(&format!("/v1/jobs/{id}/artifacts/student.onnx")).await;
    let uploaded = app.post_bytes("/v1/models", "application/octet-stream", student.bytes).await;
    assert_eq!(uploaded.status, 201, "the student is a model like any other: {uploaded:?}");

    // The pool and the queue say what they did.
    let devices = app.get("/v1/devices").await.json();
    let device = &devices["data"][0];
    assert_eq!((&device["device"], &device["state"], &device["job"]), (&"cpu".into(), &"idle".into(), &Value::Null));
    let metrics = app.get("/metrics").await;
    assert!(metrics.header("content-type").starts_with("text/plain; version=0.0.4"), "{metrics:?}");
    let metrics = String::from_utf8(metrics.bytes).expect("text");
    let scores = TinyResNet::default().droppable().len();
    for line in [
        "practised_jobs{status=\"succeeded\"} 1".to_owned(),
        "practised_oldest_queued_seconds 0".to_owned(),
        "practised_workers{state=\"idle\"} 1".to_owned(),
        "practised_claims_total{task=\"measure\"} 1".to_owned(),
        format!("practised_tasks_done_total{{task=\"score\"}} {scores}"),
        "practised_leases_lost_total 0".to_owned(),
    ] {
        assert!(metrics.lines().any(|there| there == line), "{line} is not in\n{metrics}");
    }

    // A second wish about the same network and images is not scored again.
    job["target"] = json!({"blocks": 2});
    let second = app.submit(&job).await;
    assert_eq!(app.finished(&second, Duration::from_secs(240)).await["status"], "succeeded");
    let again = app.get(&format!("/v1/jobs/{second}/report")).await.json();
    let scored = |report: &Value| -> Vec<Value> {
        let blocks = report["blocks"].as_array().expect("a list").iter();
        blocks.map(|block| block["recoverability"].clone()).filter(|score| !score.is_null()).collect()
    };
    assert_eq!(scored(&again), scored(&report));
    assert_eq!(
        (&report["cost"]["reused_scores"], &again["cost"]["reused_scores"]),
        (&json!(0), &json!(scored(&report).len()))
    );
    assert!(app.event_kinds(&second).await.contains(&"scores_reused".to_owned()));
}

#[tokio::test]
async fn without_images_pictures_are_drawn_and_the_report_says_so() {
    let app = TestApp::with_worker().await;
    let mut job = app.quick_job().await;
    job["images"] = Value::Null;
    let id = app.submit(&job).await;
    assert_eq!(app.job(&id).await["images"], Value::Null);
    let ended = app.finished(&id, Duration::from_secs(240)).await;
    assert_eq!(ended["status"], "succeeded", "{ended}");
    let report = app.get(&format!("/v1/jobs/{id}/report")).await.json();
    let quality = &report["quality"];
    assert_eq!(quality["images_from"], "synthesised", "{report}");
    let count = |which: &str| quality["images"][which].as_u64().expect("a count");
    assert_eq!(count("synthetic"), count("fit") + count("held_out"));
    assert!(count("held_out") >= 3, "some are held out: {quality}");
    let codes: Vec<&Value> =
        report["warnings"].as_array().expect("a list").iter().map(|warning| &warning["code"]).collect();
    assert!(codes.contains(&&json!("made_images")), "{report}");
}

#[tokio::test]
async fn events_are_streamed_as_they_happen_and_go_on_where_a_reader_left() {
    let app = TestApp::with_worker().await;
    let id = app.submit(&app.quick_job().await).await;
    let path = app.path(&format!("/v1/jobs/{id}/events"));
    // The stream ends with the job.
    let streaming = app.http.get(&path).header("accept", "text/event-stream").timeout(Duration::from_secs(240));
    let text = streaming.send().await.expect("a stream").text().await.expect("to its end");
    let ids: Vec<i64> = text.lines().filter_map(|line| line.strip_prefix("id:")?.trim().parse().ok()).collect();
    assert_eq!(ids, (1..=ids.len() as i64).collect::<Vec<_>>(), "{text}");
    assert!(text.contains("event: queued") && text.contains("event: succeeded"), "{text}");
    let rest =
        app.http.get(&path).header("accept", "text/event-stream").header("last-event-id", (ids.len() - 1).to_string());
    let rest = rest.send().await.expect("a stream").text().await.expect("to its end");
    assert_eq!(rest.matches("event:").count(), 1, "{rest}");
    let page = app.get(&format!("/v1/jobs/{id}/events?after=1&limit=1")).await.json();
    assert_eq!((&page["data"][0]["seq"], &page["has_more"], &page["next"]), (&2.into(), &true.into(), &"2".into()));
}

#[tokio::test]
async fn the_same_submission_twice_is_one_job() {
    let app = TestApp::without_workers().await;
    let job = app.quick_job().await;
    let post = |body: &Value| app.post("/v1/jobs").header("idempotency-key", "order-42").json(body);
    let answers = futures::future::join_all((0..50).map(|_| app.send(post(&job)))).await;
    for answer in &answers {
        // One that comes while another is answered is told to come again.
        assert!(answer.status == 202 || answer.status == 409, "{answer:?}");
    }
    let first = answers.iter().find(|answer| answer.status == 202).expect("one is accepted");
    let replayed = app.send(post(&job)).await;
    assert_eq!((replayed.status, &replayed.bytes), (202, &first.bytes), "the same answer, byte for byte");
    assert_eq!(replayed.header("location"), first.header("location"));
    assert_eq!(replayed.header("idempotency-replayed"), "true");
    assert_eq!(app.get("/v1/jobs").await.json()["data"].as_array().map(Vec::len), Some(1));
    let mut other = job.clone();
    other["seed"] = 8.into();
    app.send(post(&other)).await.problem(422, "idempotency_key_reused");
    let without = app.submit(&job).await;
    assert_ne!(without, first.id());
    let bad = app.post("/v1/jobs").header("idempotency-key", "").json(&job);
    app.send(bad).await.problem(400, "bad_request");
}

#[tokio::test]
async fn jobs_queue_up_and_a_queued_one_is_cancelled_at_once() {
    let app = TestApp::without_workers().await;
    let job = app.quick_job().await;
    let (first, second) = (app.submit(&job).await, app.submit(&job).await);
    assert_eq!(app.job(&first).await["queue_position"], 0);
    assert_eq!(app.job(&second).await["queue_position"], 1);
    app.get(&format!("/v1/jobs/{first}/report")).await.problem(404, "report_not_ready");
    assert_eq!(app.get(&format!("/v1/jobs/{first}/artifacts")).await.json()["data"], json!([]));

    let cancelled = app.send(app.post(&format!("/v1/jobs/{first}/cancel"))).await;
    assert_eq!((cancelled.status, &cancelled.json()["status"]), (200, &"cancelled".into()));
    assert_eq!(app.send(app.post(&format!("/v1/jobs/{first}/cancel"))).await.status, 200, "again is no error");
    assert_eq!(app.job(&second).await["queue_position"], 0);
    let listed = app.get("/v1/jobs?status=cancelled").await.json();
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(1));
    assert_eq!(listed["data"][0]["id"], first);
    let of_model = format!("/v1/jobs?model={}", job["model"].as_str().expect("an id"));
    assert_eq!(app.get(&of_model).await.json()["data"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn a_running_job_is_cancelled_within_five_seconds() {
    let app = TestApp::with_worker().await;
    let id = app.submit(&app.long_job().await).await;
    app.until("it scores", Duration::from_secs(120), async || app.job(&id).await["phase"] == "score").await;
    let asked = Instant::now();
    let answer = app.send(app.post(&format!("/v1/jobs/{id}/cancel"))).await;
    assert!(answer.status == 202 || answer.status == 200, "{answer:?}");
    let ended = app.finished(&id, Duration::from_secs(10)).await;
    assert_eq!(ended["status"], "cancelled");
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    // The worker is free for the next one.
    let next = app.submit(&app.quick_job().await).await;
    assert_eq!(app.finished(&next, Duration::from_secs(240)).await["status"], "succeeded");
}
