//! Bad input gets a problem that names the cause and the way out, and nothing stays behind.

use practised::onnx;
use serde_json::{Value, json};

use crate::support::networks::{Batch, TinyResNet, with_weight_elsewhere};
use crate::support::service::{Answer, TestApp};
use crate::support::uploads;

const OCTETS: &str = "application/octet-stream";

/// Nothing stays behind: no row, no spooled file.
async fn assert_empty(app: &TestApp) {
    for list in ["/v1/models", "/v1/image-sets", "/v1/jobs"] {
        assert_eq!(app.get(list).await.json()["data"], json!([]), "{list}");
    }
    assert_eq!(app.spooled(), Vec::<std::path::PathBuf>::new(), "spooled files are gone");
}

fn says(problem: &Value, words: &[&str]) {
    let text = problem.to_string();
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text}");
    }
}

fn tiny_graph() -> practised::graph::Graph {
    TinyResNet::default().graph()
}

fn file(graph: &practised::graph::Graph) -> Vec<u8> {
    onnx::encode_graph(graph, 10).expect("written")
}

#[tokio::test]
async fn files_that_are_no_network() {
    let app = TestApp::without_workers().await;
    let post = async |bytes: &[u8]| app.post_bytes("/v1/models", OCTETS, bytes.to_vec()).await;

    says(&post(b"GIF89a, and then some more bytes").await.problem(400, "not_onnx"), &["torch.onnx.export"]);
    let whole = TinyResNet::default().bytes();
    says(&post(&whole[..whole.len() / 2]).await.problem(400, "model_truncated"), &["truncated", "again"]);
    let pickle = post(b"\x80\x02}q\x00(X\x06\x00\x00\x00weightq\x01K\x01u.").await.problem(415, "pytorch_file");
    says(&pickle, &["torch.onnx.export("]);
    let archive = uploads::zip(&[("model/data.pkl", b"\x80\x02.".to_vec()), ("model/version", b"3\n".to_vec())]);
    says(&post(&archive).await.problem(415, "pytorch_file"), &["torch.onnx.export("]);
    let elsewhere = with_weight_elsewhere(&TinyResNet::default().bytes(), "model.onnx.data");
    let problem = post(&elsewhere).await.problem(422, "external_data");
    says(&problem, &["fc.weight", "model.onnx.data", "external_data=False"]);
    says(&post(b"").await.problem(400, "empty_body"), &["bytes"]);
    assert_empty(&app).await;
}

#[tokio::test]
async fn networks_that_cannot_be_run() {
    let app = TestApp::without_workers().await;
    let post = async |bytes: Vec<u8>| app.post_bytes("/v1/models", OCTETS, bytes).await;

    let mut unknown = tiny_graph();
    let relus: Vec<String> =
        unknown.nodes.iter().filter(|node| node.op == "Relu").map(|node| node.label().to_owned()).collect();
    unknown.nodes.iter_mut().filter(|node| node.op == "Relu").for_each(|node| node.op = "Frobnicate".to_owned());
    let problem = post(file(&unknown)).await.problem(422, "operators_unsupported");
    let listed: Vec<&str> =
        problem["errors"].as_array().expect("a list").iter().filter_map(|fault| fault["node"].as_str()).collect();
    assert_eq!(listed, relus, "every unsupported operator at once");

    let mut missing = tiny_graph();
    let name = missing.initializers.keys().next().expect("a weight").clone();
    missing.initializers.shift_remove(&name);
    says(&post(file(&missing)).await.problem(422, "model_invalid"), &[&name, "hint"]);

    let mut cyclic = tiny_graph();
    let last = cyclic.nodes.last().expect("a node").output().to_owned();
    cyclic.nodes[0].inputs[0] = last;
    says(&post(file(&cyclic)).await.problem(422, "model_invalid"), &["cycle"]);

    let mut misshapen = tiny_graph();
    let conv = misshapen.nodes.iter().filter(|node| node.op == "Conv").nth(1).expect("a conv").clone();
    let weight = std::sync::Arc::make_mut(misshapen.initializers.get_mut(&conv.inputs[1]).expect("its weight"));
    weight.dims[1] *= 2;
    weight.bytes.extend_from_within(..);
    says(&post(file(&misshapen)).await.problem(422, "model_invalid"), &[conv.label(), "Conv"]);
    assert_empty(&app).await;
}

#[tokio::test]
async fn archives_that_are_refused() {
    let app = TestApp::without_workers().await;
    let post = async |bytes: Vec<u8>| app.post_bytes("/v1/image-sets", "application/zip", bytes).await;

    says(&post(b"not a zip at all".to_vec()).await.problem(400, "not_a_zip"), &["zip"]);
    let text = uploads::zip(&[("a.png", b"no image".to_vec())]);
    says(&post(text).await.problem(422, "no_usable_image"), &["a.png"]);
    says(&post(uploads::bomb(9)).await.problem(422, "zip_bomb"), &["unpack to 603979776"]);
    let escaping = uploads::zip(&[("../../etc/passwd.png", uploads::png(8, 1))]);
    says(&post(escaping).await.problem(422, "unsafe_archive_entry"), &["../../etc/passwd.png"]);
    let labels = uploads::zip(&[("a.png", uploads::png(8, 1)), ("labels.csv", b"nonsense".to_vec())]);
    says(&post(labels).await.problem(422, "invalid_labels"), &["file,label"]);
    assert_empty(&app).await;
}

#[tokio::test]
async fn bodies_over_the_limit() {
    let app = TestApp::start(&["--workers", "0", "--max-model-mib", "1"]).await;
    let large = vec![8; (1 << 20) + 1];
    says(&app.post_bytes("/v1/models", OCTETS, large).await.problem(413, "body_too_large"), &["1 MiB"]);
    // Without a length to refuse it by, it is counted.
    let chunks = futures::stream::iter((0..20).map(|_| Ok::<_, std::io::Error>(vec![8_u8; 100 << 10])));
    let request = app.post("/v1/models").header("content-type", OCTETS).body(reqwest::Body::wrap_stream(chunks));
    app.send(request).await.problem(413, "body_too_large");
    let long = format!("{{\"metadata\": {{\"x\": \"{}\"}}}}", "y".repeat(2 << 20));
    app.post_bytes("/v1/jobs", "application/json", long.into_bytes()).await.problem(413, "body_too_large");
    assert_empty(&app).await;
}

#[tokio::test]
async fn requests_that_are_no_requests_of_ours() {
    let app = TestApp::without_workers().await;
    let missing = app.get("/v2/models").await.problem(404, "unknown_route");
    assert_eq!(missing["instance"], "/v2/models");
    let request = app.http.put(app.path("/v1/jobs"));
    let answer = app.send(request).await;
    says(&answer.problem(405, "method_not_allowed"), &["GET", "POST"]);
    assert!(answer.header("allow").contains("POST"));
    app.get("/v1/models/resnet").await.problem(404, "model_not_found");
    app.get("/v1/jobs/0190aaaa-0000-7000-8000-000000000000").await.problem(404, "job_not_found");
    app.post_bytes("/v1/jobs", "text/plain", b"{}".to_vec()).await.problem(415, "unsupported_media_type");
    let broken = app.post_bytes("/v1/jobs", "application/json", b"{\"model\": }".to_vec()).await;
    says(&broken.problem(400, "invalid_json"), &["line 1"]);
    app.post_json("/v1/jobs", &json!([1])).await.problem(422, "invalid_job");
    let named = app.send(app.http.get(app.path("/v1/nothing")).header("x-request-id", "mine-42")).await;
    assert_eq!(named.problem(404, "unknown_route")["request_id"], "mine-42");
    assert_eq!(named.header("x-request-id"), "mine-42");
}

/// The faults of a problem by their pointers.
fn pointers(answer: &Answer, code: &str) -> Vec<(String, String)> {
    let problem = answer.problem(422, code);
    let faults = problem["errors"].as_array().unwrap_or_else(|| panic!("no errors: {problem}"));
    let text = |fault: &Value, key: &str| fault[key].as_str().unwrap_or_default().to_owned();
    faults.iter().map(|fault| (text(fault, "pointer"), text(fault, "hint"))).collect()
}

#[tokio::test]
async fn jobs_whose_body_has_faults() {
    let app = TestApp::without_workers().await;
    let good = app.quick_job().await;
    let with = |changes: Value| {
        let mut body = good.clone();
        body.as_object_mut().expect("an object").extend(changes.as_object().expect("an object").clone());
        body
    };
    let post = async |changes: Value| app.post_json("/v1/jobs", &with(changes)).await;

    let all =
        json!({ "model": 3, "taget": {"blocks": 2}, "seed": "seven", "deadline_seconds": 0, "priority": "urgent" });
    let all_at_once = post(all).await;
    let mut found = pointers(&all_at_once, "invalid_job");
    found.sort();
    let places: Vec<&str> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
    assert_eq!(places, ["/deadline_seconds", "/model", "/priority", "/seed", "/taget"]);
    assert!(found[2].1.contains("\"low\", \"normal\" or \"high\""), "{found:?}");
    assert!(found[4].1.contains("\"target\""), "{found:?}");

    let both = post(json!({ "target": {"latency_ms": 8.0, "latency_reduction": 0.2} })).await;
    assert_eq!(pointers(&both, "invalid_job")[0].0, "/target");
    says(&both.json(), &["latency_ms", "latency_reduction"]);

    let excluded = post(json!({ "exclude_blocks": ["layer1.0", "layer1.9"] })).await;
    assert_eq!(pointers(&excluded, "unknown_block")[0].0, "/exclude_blocks/1");
    let none_left = post(json!({ "exclude_blocks": TinyResNet::default().droppable() })).await;
    assert_eq!(pointers(&none_left, "no_droppable_block")[0].0, "/exclude_blocks");

    let nobody = json!({ "model": "0190aaaa-0000-7000-8000-000000000000" });
    says(&post(nobody).await.problem(404, "model_not_found"), &["/model"]);
    let nothing = json!({ "images": "0190aaaa-0000-7000-8000-000000000000" });
    says(&post(nothing).await.problem(404, "image_set_not_found"), &["/images"]);
    assert_eq!(app.get("/v1/jobs").await.json()["data"], json!([]));
}

#[tokio::test]
async fn networks_with_nothing_to_drop_are_taken_and_their_jobs_refused_with_the_reasons() {
    let app = TestApp::without_workers().await;
    let images = app.upload_images(4, 8).await;
    let submit = async |graph: &practised::graph::Graph| {
        let uploaded = app.post_bytes("/v1/models", OCTETS, file(graph)).await;
        assert_eq!(uploaded.status, 201, "{uploaded:?}");
        assert_eq!(uploaded.json()["blocks"]["droppable"], 0);
        let job = json!({ "model": uploaded.id(), "images": images });
        app.post_json("/v1/jobs", &job).await.problem(422, "no_droppable_block")
    };

    let mut projection_only = tiny_graph();
    let identity = TinyResNet::default().droppable().into_iter().map(|name| format!("{name}.add")).collect::<Vec<_>>();
    projection_only
        .nodes
        .iter_mut()
        .filter(|node| identity.contains(&node.name))
        .for_each(|node| node.op = "Mul".into());
    let problem = submit(&projection_only).await;
    says(&problem, &["none of the 1 residual additions"]);
    assert_eq!(problem["errors"][0]["node"], "layer2.0");
    says(&problem["errors"][0], &["projection shortcut"]);

    let mut plain = tiny_graph();
    plain.nodes.iter_mut().filter(|node| node.op == "Add").for_each(|node| node.op = "Mul".into());
    says(&submit(&plain).await, &["no residual addition"]);
    assert_eq!(app.get("/v1/jobs").await.json()["data"], json!([]));
}

#[tokio::test]
async fn jobs_whose_parts_do_not_fit_each_other() {
    let app = TestApp::without_workers().await;
    let mut job = app.quick_job().await;
    job["images"] = app.upload_images(4, 10).await.into();
    let misfit = app.post_json("/v1/jobs", &job).await;
    let (pointer, hint) = pointers(&misfit, "images_do_not_fit_the_model").remove(0);
    assert_eq!(pointer, "/preprocess");
    assert!(hint.contains("\"crop\": 8"), "{hint}");
    // The mend that the hint gives does mend it.
    job["preprocess"] = serde_json::from_str(&hint[hint.find('{').expect("JSON")..]).expect("JSON");
    assert_eq!(app.post_json("/v1/jobs", &job).await.status, 202);

    let mut fixed = app.quick_job().await;
    fixed["model"] = app.upload_model(&TinyResNet { batch: Batch::Fixed(1), ..TinyResNet::default() }).await.into();
    fixed["latency"] = json!({ "batch": 4 });
    let refused = app.post_json("/v1/jobs", &fixed).await;
    assert_eq!(pointers(&refused, "model_interface_unsupported")[0].0, "/latency/batch");
}

#[tokio::test]
async fn what_is_in_use_is_not_deleted() {
    let app = TestApp::without_workers().await;
    let job = app.quick_job().await;
    let id = app.submit(&job).await;
    let (model, images) = (
        format!("/v1/models/{}", job["model"].as_str().expect("an id")),
        format!("/v1/image-sets/{}", job["images"].as_str().expect("an id")),
    );
    says(&app.delete(&model).await.problem(409, "model_in_use"), &["job"]);
    app.delete(&images).await.problem(409, "image_set_in_use");
    assert_eq!(app.send(app.post(&format!("/v1/jobs/{id}/cancel"))).await.status, 200);
    assert_eq!(app.delete(&model).await.status, 204);
    assert_eq!(app.delete(&images).await.status, 204);
    assert_eq!(app.job(&id).await["model"], job["model"], "the job still says what it was about");
}

#[tokio::test]
async fn an_address_that_others_can_reach_is_refused_where_no_key_exists() {
    let dir = crate::support::cluster::data_dir("").await;
    let serve = std::process::Command::new(env!("CARGO_BIN_EXE_practised"))
        .args(["serve", "--listen", "0.0.0.0:0", "--data-dir"])
        .arg(dir.path())
        .output()
        .expect("runs");
    assert_eq!(serve.status.code(), Some(2));
    let said = String::from_utf8_lossy(&serve.stderr);
    assert!(said.contains("--insecure-no-auth") && said.contains("practised keys create --admin"), "{said}");
}
