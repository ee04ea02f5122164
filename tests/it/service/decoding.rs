//! Image sets are decoded outside the service, within what their bytes allow, and nobody waits for another tenant's.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use reqwest::RequestBuilder;
use serde_json::json;

use crate::support::networks::TinyResNet;
use crate::support::service::{Answer, TestApp};
use crate::support::uploads::{flat_png, image_zip, zip};

const ZIP: &str = "application/zip";

/// `count` names for one image.
fn copies(count: usize, image: &[u8]) -> Vec<u8> {
    let names: Vec<String> = (0..count).map(|index| format!("{index:03}.png")).collect();
    zip(&names.iter().map(|name| (name.as_str(), image.to_vec())).collect::<Vec<_>>())
}

/// Two images of 200 MB each once they are decoded, which takes long enough to be caught at.
fn large() -> Vec<u8> {
    copies(2, &flat_png(5000, 5000, 16, 6))
}

async fn post(app: &TestApp, archive: Vec<u8>) -> Answer {
    app.post_bytes("/v1/image-sets", ZIP, archive).await
}

fn request(app: &TestApp, archive: Vec<u8>) -> RequestBuilder {
    app.post("/v1/image-sets").header("content-type", ZIP).body(archive)
}

/// Most memory that the service itself has had so far, in MiB.
fn most_memory(app: &TestApp) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", app.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).expect("a number") >> 10
}

/// Waits until so many decoders run, and stops them where they are.
async fn stopped(app: &TestApp, count: usize) -> Vec<nix::unistd::Pid> {
    app.until("it is being decoded", Duration::from_secs(30), async || {
        let found = app.decoders();
        // One that is done already has given its place to the next.
        found.iter().for_each(|pid| kill(*pid, Signal::SIGSTOP).unwrap_or_default());
        found.len() == count
    })
    .await;
    app.decoders()
}

#[tokio::test]
async fn files_of_many_pixels_in_few_bytes_are_refused_before_they_are_decoded() {
    let app = TestApp::without_workers().await;
    let attack = copies(199, &flat_png(7071, 7071, 1, 0));
    assert!(attack.len() < 2 << 20, "{} bytes", attack.len());
    let answers = tokio::join!(post(&app, attack.clone()), post(&app, attack.clone()), post(&app, image_zip(20, 32)));
    for refused in [answers.0, answers.1] {
        let detail = refused.problem(413, "image_set_too_large")["detail"].to_string();
        assert!(
            detail.contains("29849427477 and the limit is") && detail.contains("scale the images down"),
            "{detail}"
        );
    }
    assert_eq!(answers.2.status, 201, "{:?}", answers.2);
    let limits = app.get("/v1/limits").await.json();
    assert_eq!(limits["images"]["free_decoded_bytes"], 512 << 20, "{limits}");
    // Fewer of 16 bits are as costly.
    post(&app, copies(4, &flat_png(5000, 5000, 16, 6))).await.problem(413, "image_set_too_large");
}

#[tokio::test]
async fn what_is_large_once_decoded_takes_no_memory_of_the_service() {
    let app = TestApp::without_workers().await;
    let before = most_memory(&app);
    // 16 bits, red, green, blue, alpha: 200 MB each.
    let taken = post(&app, large()).await;
    assert_eq!((taken.status, &taken.json()["images"]), (201, &json!(2)), "{taken:?}");
    let grown = most_memory(&app) - before;
    assert!(grown < 100, "{grown} MiB more");
}

/// Two tenants; the decoders of the first one's uploads are held up by the test.
#[tokio::test]
async fn a_tenant_whose_uploads_take_long_keeps_no_other_and_no_model_waiting() {
    let (mut app, admin) = TestApp::with_keys().await;
    app.show(Some(&admin));
    let mut keys = Vec::new();
    for tenant in ["slow", "other"] {
        let made = app.post_json("/v1/api-keys", &json!({ "tenant": tenant })).await;
        keys.push(made.json()["key"].as_str().expect("a key").to_owned());
    }
    let of = |key: &str, request: RequestBuilder| request.bearer_auth(key.to_owned());
    app.show(None);
    let sends: Vec<_> = (0..4).map(|_| tokio::spawn(of(&keys[0], request(&app, large())).send())).collect();
    let held = stopped(&app, 2).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(app.decoders(), held, "its other uploads wait");

    let model = of(&keys[0], app.post("/v1/models").body(TinyResNet::default().bytes()));
    let model = model.header("content-type", "application/octet-stream");
    assert_eq!(app.send(model).await.status, 201, "a model does not wait behind images");
    assert_eq!(app.send(of(&keys[1], request(&app, image_zip(5, 8)))).await.status, 201, "nor does another tenant");

    // What ends a decoder ends its upload alone, and makes room for the next.
    held.iter().for_each(|pid| kill(*pid, Signal::SIGKILL).expect("killed"));
    let mut codes = Vec::new();
    for send in sends {
        codes.push(send.await.expect("runs").expect("an answer").status().as_u16());
    }
    codes.sort_unstable();
    assert_eq!(codes, [201, 201, 422, 422]);
}

#[tokio::test]
async fn a_decoder_ends_with_the_request_and_when_its_time_is_up() {
    let app = TestApp::without_workers().await;
    let given_up = tokio::spawn(request(&app, large()).send());
    stopped(&app, 1).await;
    given_up.abort();
    app.until("nobody decodes for nobody", Duration::from_secs(20), async || app.decoders().is_empty()).await;
    app.until("nothing of it stays", Duration::from_secs(5), async || app.spooled().is_empty()).await;

    let waiting = tokio::spawn(request(&app, large()).send());
    stopped(&app, 1).await;
    let answer = tokio::time::timeout(Duration::from_secs(120), waiting).await.expect("in time").expect("runs");
    let problem: serde_json::Value = answer.expect("an answer").json().await.expect("a problem");
    assert_eq!((&problem["code"], &problem["status"]), (&json!("images_too_costly"), &json!(422)), "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("longer than 60 s")), "{problem}");
    app.until("its process is gone", Duration::from_secs(5), async || app.decoders().is_empty()).await;
    assert_eq!(post(&app, image_zip(10, 16)).await.status, 201, "the next one is served");
}
