//! Thousands of random requests, changed from valid ones, against a real service: none gets a 5xx, and every error is a whole problem
//! document that says nothing about the host.
//!
//! Seeded, so that a find comes again. `PRACTISED_FUZZ_REQUESTS` (3,000) says how many, `PRACTISED_FUZZ_SECONDS` for how long instead,
//! `PRACTISED_FUZZ_SEED` from where; `make fuzz` runs it longer, from another seed each time.

mod changes;
mod request;
mod valid;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::StreamExt;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use self::request::Request;
use self::valid::{Ids, valid};
use crate::support::networks::TinyResNet;
use crate::support::service::TestApp;

/// Requests at a time.
const AT_ONCE: usize = 8;

/// After so many, what a request has deleted is made again.
const ROUND: u64 = 500;

/// Finds after which the rest is not tried.
const MOST_FINDS: usize = 10;

/// Statuses beyond 499 that the API documents for a service whose database and disk are not there.
const DOCUMENTED: [u16; 2] = [503, 507];

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[tokio::test]
async fn no_random_request_is_answered_with_a_fault_of_ours() {
    let seed = number("PRACTISED_FUZZ_SEED", 1);
    let time = std::env::var("PRACTISED_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).map(Duration::from_secs);
    let most = if time.is_some() { u64::MAX } else { number("PRACTISED_FUZZ_REQUESTS", 3000) };
    let app = TestApp::without_workers().await;
    let codes = codes(&app).await;
    let (began, mut sent, mut statuses, mut finds) = (Instant::now(), 0, BTreeSet::new(), Vec::new());
    while sent < most && time.is_none_or(|time| began.elapsed() < time) {
        let ids = ids(&app).await;
        let round = sent..most.min(sent + ROUND);
        sent = round.end;
        let answers = futures::stream::iter(round).map(|index| {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            random.set_stream(index);
            let request = valid(&ids, &mut random).changed(&mut random);
            ask(&app, request, (seed, index), &codes)
        });
        for answer in answers.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await {
            match answer {
                Ok(status) => drop(statuses.insert(status)),
                Err(find) => finds.push(find),
            }
        }
        assert!(finds.len() < MOST_FINDS, "{}", finds.join("\n\n"));
    }
    println!("{sent} requests from seed {seed} in {:.0} s: {statuses:?}", began.elapsed().as_secs_f64());
    assert!(finds.is_empty(), "{}", finds.join("\n\n"));
    // What is not reached is not tried.
    for status in [200, 201, 202, 400, 404, 405, 409, 415, 422] {
        assert!(statuses.contains(&status), "no request was answered with {status}: {statuses:?}");
    }
    assert!(!app.log().contains("panicked"), "{}", app.log());
    app.examine().await;
}

/// Codes of all documented kinds of problem.
async fn codes(app: &TestApp) -> BTreeSet<String> {
    let pages = app.get("/v1/errors").await.json();
    let pages = pages["data"].as_array().expect("a list").iter();
    pages.filter_map(|page| page["code"].as_str().map(str::to_owned)).collect()
}

/// A model, images and a job, as valid requests name them.
async fn ids(app: &TestApp) -> Ids {
    // A random request may have set the tenant's caps.
    let caps = app.http.put(app.path("/v1/tenants/local")).json(&json!({ "max_running": null, "max_queued": null }));
    assert_eq!(app.send(caps).await.status, 200);
    let body = app.quick_job().await;
    let job = app.submit(&body).await;
    let text = |name: &str| body[name].as_str().expect("an id").to_owned();
    Ids { model: text("model"), images: text("images"), job, body, network: TinyResNet::default().bytes() }
}

/// Sends a request; the status of its answer, which is checked. An error is a find.
async fn ask(app: &TestApp, request: Request, at: (u64, u64), codes: &BTreeSet<String>) -> Result<u16, String> {
    let shown = format!("{request:?}");
    let find = |why: String| format!("{why}\nto request {} of seed {}: {shown}", at.1, at.0);
    let head = request.method == "HEAD";
    let sent = request.built(&app.http, &app.url).timeout(Duration::from_secs(120)).send().await;
    let answer = sent.map_err(|error| find(format!("no answer: {error:?}")))?;
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    // A stream of events ends with its job only.
    if status < 400 && kind == "text/event-stream" {
        return Ok(status);
    }
    let bytes = answer.bytes().await.map_err(|error| find(format!("half an answer: {error:?}")))?;
    let text = String::from_utf8_lossy(&bytes);
    if status >= 500 && !DOCUMENTED.contains(&status) {
        return Err(find(format!("{status}: {text}")));
    }
    if status >= 400 && kind != "application/problem+json" {
        return Err(find(format!("{status} as {kind:?}: {text}")));
    }
    if status >= 400 && !head {
        let folder = app.dir.path().display().to_string();
        is_problem(&text, status, codes, &folder).map_err(|why| find(format!("{why}: {text}")))?;
    }
    Ok(status)
}

/// Words of Rust, of its libraries and of the operating system, which tell a customer nothing.
const OURS: [&str; 9] =
    ["panicked", "os error", "invalid type", "expected struct", "enum ", "serde", "sqlx", "/src/", "unwrap"];

fn is_problem(text: &str, status: u16, codes: &BTreeSet<String>, folder: &str) -> Result<(), String> {
    let problem: Value = serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))?;
    for field in ["type", "title", "detail", "instance", "request_id", "code"] {
        if problem[field].as_str().is_none_or(str::is_empty) {
            return Err(format!("no {field}"));
        }
    }
    let code = problem["code"].as_str().unwrap_or_default();
    let listed = problem["errors"].as_array().map_or(0, Vec::len);
    let texts = format!("{}{}", problem["detail"], problem["errors"]);
    let checks = [
        (problem["status"] == status, "another status"),
        (problem["retryable"].is_boolean(), "no retryable"),
        (codes.contains(code), "an undocumented code"),
        (problem["type"] == format!("/v1/errors/{code}"), "another type"),
        (listed <= 100 && text.len() < 300_000, "an endless answer"),
        (!text.contains(folder), "a path of the host"),
        (!OURS.iter().any(|word| texts.contains(word)), "words of ours"),
    ];
    match checks.into_iter().find(|(holds, _)| !holds) {
        Some((_, why)) => Err(why.to_owned()),
        None => Ok(()),
    }
}
