//! Text that a database cannot store, values of another kind, lists without end: refused at the door, in plain words, at little cost.

use std::time::{Duration, Instant};

use practised::onnx;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::support::networks::TinyResNet;
use crate::support::service::{Answer, OtherWorker, TestApp};
use crate::support::uploads;

fn with(job: &Value, changes: Value) -> Value {
    let mut body = job.clone();
    body.as_object_mut().expect("an object").extend(changes.as_object().expect("an object").clone());
    body
}

fn pointers(problem: &Value) -> Vec<&str> {
    problem["errors"].as_array().expect("errors").iter().filter_map(|fault| fault["pointer"].as_str()).collect()
}

/// Every place where a customer's text reaches the database.
#[tokio::test]
async fn nul_characters_are_refused_at_every_door() {
    let app = TestApp::without_workers().await;
    let job = app.quick_job().await;
    for (changes, pointer) in [
        (json!({"metadata": {"a": "x\0"}}), "/metadata/a"),
        (json!({"metadata": {"a": [{"deep": "\0"}]}}), "/metadata/a/0/deep"),
        (json!({"metadata": {"a": {"\0": 1}}}), "/metadata/a/\u{FFFD}"),
        (json!({"device": "H\u{0}100"}), "/device"),
        (json!({"model": "\0"}), "/model"),
        (json!({"priority": "\0"}), "/priority"),
        (json!({"selection": "\0"}), "/selection"),
        (json!({"\0": 1}), "/\u{FFFD}"),
    ] {
        let problem = app.post_json("/v1/jobs", &with(&job, changes)).await.problem(422, "invalid_job");
        assert_eq!(pointers(&problem), [pointer], "{problem}");
    }
    let excluded = with(&job, json!({"exclude_blocks": ["\0"]}));
    app.post_json("/v1/jobs", &excluded).await.problem(422, "unknown_block");
    let inputs = with(&job, json!({"inputs": {"\0": 1}}));
    app.post_json("/v1/jobs", &inputs).await.problem(422, "model_interface_unsupported");
    for body in
        [r#"{"metadata": {"a": "\ud800"}}"#, r#"{"metadata": {"\udc00": 1}}"#, "{\"metadata\": {\"a\": \"\0\"}}"]
    {
        let answer = app.post_bytes("/v1/jobs", "application/json", body.as_bytes().to_vec()).await;
        answer.problem(400, "invalid_json");
    }
    let id = app.submit(&job).await;
    app.get(&format!("/v1/jobs/{id}/artifacts/a%00b")).await.problem(404, "artifact_not_found");
    app.get(&format!("/v1/jobs/{id}/artifacts/%FF")).await.problem(404, "unknown_route");
    app.get("/v1/jobs/%00").await.problem(404, "job_not_found");
    app.get("/v1/tenants/a%00").await.problem(404, "tenant_not_found");
    app.get("/v1/errors/%00").await.problem(404, "error_page_not_found");
    let put = app.http.put(app.path("/v1/tenants/a%00")).json(&json!({"max_running": 1, "max_queued": null}));
    app.send(put).await.problem(422, "invalid_tenant");
    app.post_json("/v1/api-keys", &json!({"tenant": "a\0"})).await.problem(422, "invalid_api_key");
}

#[tokio::test]
async fn names_that_cannot_be_kept_are_refused() {
    let app = TestApp::without_workers().await;
    let network = TinyResNet::default();
    for name in ["a%00b", "a%0Ab", &"x".repeat(256), &"%C3%A4".repeat(256)] {
        let answer =
            app.post_bytes(&format!("/v1/models?name={name}"), "application/octet-stream", network.bytes()).await;
        answer.problem(422, "invalid_name");
    }
    let long = Part::bytes(network.bytes()).file_name("x".repeat(300));
    app.send(app.post("/v1/models").multipart(Form::new().part("file", long))).await.problem(422, "invalid_name");
    let mut graph = network.graph();
    graph.nodes.iter_mut().for_each(|node| node.name = node.name.replace("layer1", "layer\0"));
    let renamed = |name: &mut String| *name = name.replace("layer1", "layer\0");
    graph.nodes.iter_mut().for_each(|node| node.inputs.iter_mut().chain(&mut node.outputs).for_each(renamed));
    graph.initializers =
        graph.initializers.into_iter().map(|(name, tensor)| (name.replace("layer1", "layer\0"), tensor)).collect();
    let file = onnx::encode_graph(&graph, 10).expect("written");
    let problem = app.post_bytes("/v1/models", "application/octet-stream", file).await.problem(422, "model_invalid");
    assert!(problem.to_string().contains("NUL"), "{problem}");
    assert_eq!(app.get("/v1/models").await.json()["data"], json!([]));
    let kept = app
        .post_bytes(&format!("/v1/models?name={}", "%C3%A4".repeat(255)), "application/octet-stream", network.bytes())
        .await;
    assert_eq!((kept.status, kept.json()["name"].as_str()), (201, Some("ä".repeat(255).as_str())));

    let zip = uploads::zip(&[("a.png", uploads::png(8, 1)), ("b\0.png", uploads::png(8, 2))]);
    let answer = app.post_bytes("/v1/image-sets", "application/zip", zip).await;
    answer.problem(422, "unsafe_archive_entry");
    let named = async |name: &str| {
        let image = Part::bytes(uploads::png(8, 1)).file_name(name.to_owned());
        app.send(app.post("/v1/image-sets").multipart(Form::new().part("image", image))).await
    };
    for long in [513, 10_000, 70_000] {
        named(&"x".repeat(long)).await.problem(422, "invalid_name");
    }
    let folder = named("photos/").await;
    assert_eq!((folder.status, &folder.json()["image_list"][0]["name"]), (201, &json!("image-00001")), "{folder:?}");
}

#[tokio::test]
async fn labels_beyond_what_is_stored_are_refused() {
    let app = TestApp::without_workers().await;
    let post = async |label: &str| {
        let labels = Part::bytes(format!("file,label\na.png,{label}\n").into_bytes()).file_name("labels.csv");
        let image = Part::bytes(uploads::png(8, 1)).file_name("a.png");
        app.send(app.post("/v1/image-sets").multipart(Form::new().part("image", image).part("labels", labels))).await
    };
    for label in ["4294967295", "2147483648", "-1", "1e3", "99999999999999999999", "1.0"] {
        let problem = post(label).await.problem(422, "invalid_labels");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("line 2")), "{problem}");
    }
    let largest = post("2147483647").await;
    assert_eq!(largest.json()["image_list"][0]["label"], 2_147_483_647, "{largest:?}");
}

#[tokio::test]
async fn an_object_is_an_object_and_a_number_is_in_its_range_in_every_body() {
    let app = TestApp::without_workers().await;
    let job = app.quick_job().await;
    for field in
        ["preprocess", "target", "inputs", "recoverability", "quality_floor", "finetune", "latency", "metadata"]
    {
        for wrong in [json!([]), json!([1, 2]), json!("x"), json!(1)] {
            let problem =
                app.post_json("/v1/jobs", &with(&job, json!({ field: wrong }))).await.problem(422, "invalid_job");
            assert_eq!(pointers(&problem), [format!("/{field}")], "{problem}");
            assert!(
                problem["errors"][0]["detail"].as_str().is_some_and(|detail| detail.contains("expected an object")),
                "{problem}"
            );
        }
    }
    for (changes, pointer) in [
        (json!({"recoverability": {"iterations": 0}}), "/recoverability/iterations"),
        (json!({"target": {"blocks": 2_147_483_648_u64}}), "/target/blocks"),
        (json!({"target": {"blocks": 0}}), "/target/blocks"),
        (json!({"target": {"blocks": 2}}), "/target/blocks"),
        (json!({"target": {"blocks": [1]}}), "/target/blocks"),
        (json!({"seed": 18_446_744_073_709_551_616_f64}), "/seed"),
        (json!({"latency": {"threads": 257}}), "/latency/threads"),
        (json!({"finetune": {"steps": 4_294_967_296_u64}}), "/finetune/steps"),
        (json!({"preprocess": {"resize": 4_294_967_296_u64}}), "/preprocess/resize"),
        (json!({"preprocess": {"crop": [8]}}), "/preprocess/crop"),
    ] {
        let problem = app.post_json("/v1/jobs", &with(&job, changes)).await.problem(422, "invalid_job");
        assert_eq!(pointers(&problem), [pointer], "{problem}");
        let text = problem.to_string();
        for word in ["struct", "u32", "u64", "usize", "variant", "sequence", "invalid type"] {
            assert!(!text.contains(word), "{word}: {text}");
        }
    }
    for wrong in [json!([]), json!([1]), json!("x"), json!(null)] {
        app.post_json("/v1/jobs", &wrong).await.problem(422, "invalid_job");
        app.post_json("/v1/api-keys", &wrong).await.problem(422, "invalid_job");
    }
    let set = async |caps: Value| app.send(app.http.put(app.path("/v1/tenants/acme")).json(&caps)).await;
    for wrong in [json!([1]), json!(2_147_483_648_u64), json!(-1), json!(1.5)] {
        set(json!({ "max_running": wrong, "max_queued": null })).await.problem(422, "invalid_tenant");
    }
    for scopes in [json!({}), json!(vec!["read"; 3]), json!([["read"]]), json!([{"read": null}])] {
        app.post_json("/v1/api-keys", &json!({ "scopes": scopes })).await.problem(422, "invalid_api_key");
    }
    assert_eq!(app.get("/v1/jobs").await.json()["data"], json!([]));
}

/// A model with so many blocks, as if a network had them.
async fn many_blocks(app: &TestApp, model: &str, count: usize) {
    let block = |index: usize| json!({"name": format!("backbone.stage.layers.{index}.mixer"), "kind": "identity", "droppable": true, "macs": 1, "parameters": 1});
    let blocks: Value = (0..count).map(block).collect();
    let update = sqlx::query("update model set analysis = jsonb_set(analysis, '{blocks}', $2) where id = $1::uuid");
    update.bind(model).bind(blocks).execute(app.database().await.pool()).await.expect("changed");
}

#[tokio::test]
async fn thousands_of_faults_cost_a_small_answer_and_nobody_elses_time() {
    let app = TestApp::without_workers().await;
    let job = app.quick_job().await;
    many_blocks(&app, job["model"].as_str().expect("an id"), 3000).await;
    let names: Vec<String> = (0..9000).map(|index| format!("backbone.stage.layers.{index}.mixers")).collect();
    let body = with(&job, json!({ "exclude_blocks": names }));
    let began = Instant::now();
    let submitting = futures::future::join_all((0..2).map(|_| app.post_json("/v1/jobs", &body)));
    let looking = async {
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            let asked = Instant::now();
            assert_eq!(app.get("/healthz").await.status, 200);
            slowest = slowest.max(asked.elapsed());
        }
        slowest
    };
    let (answers, slowest) = futures::future::join(submitting, looking).await;
    println!("two bodies of {} bytes: {:?}; slowest /healthz: {slowest:?}", body.to_string().len(), began.elapsed());
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
    for answer in answers {
        let problem = answer.problem(422, "unknown_block");
        assert_eq!((problem["errors"].as_array().map(Vec::len), &problem["errors_omitted"]), (Some(100), &json!(8900)));
        assert!(answer.bytes.len() < 60_000, "{} bytes", answer.bytes.len());
        let hints = problem["errors"]
            .as_array()
            .expect("errors")
            .iter()
            .filter(|fault| fault["hint"].to_string().contains("did you mean"));
        assert_eq!(hints.count(), 3, "near names are looked for a few times");
    }
}

#[tokio::test]
async fn every_list_of_a_body_has_a_bound() {
    let app = TestApp::without_workers().await;
    let job = app.quick_job().await;
    let many =
        |count: usize| (0..count).map(|index| (format!("x{index}"), json!(1))).collect::<serde_json::Map<_, _>>();
    for (changes, pointer) in [
        (json!({"exclude_blocks": vec!["x"; 200_000]}), "/exclude_blocks"),
        (json!({"preprocess": {"mean": vec![0; 400_000]}}), "/preprocess/mean"),
        (json!({"preprocess": {"std": vec![1; 400_000]}}), "/preprocess/std"),
        (json!({"finetune": {"leave_out": vec!["start"; 100_000]}}), "/finetune/leave_out"),
        (json!({"inputs": many(50_000)}), "/inputs"),
        (json!({"metadata": many(50_000)}), "/metadata"),
        (Value::Object(many(50_000)), ""),
    ] {
        let answer = app.post_json("/v1/jobs", &with(&job, changes)).await;
        let problem = answer.problem(422, "invalid_job");
        assert_eq!(pointers(&problem), [pointer], "{problem}");
        assert!(answer.bytes.len() < 10_000, "{} bytes", answer.bytes.len());
    }
    let unknown = app.post_json("/v1/jobs", &with(&job, Value::Object(many(250)))).await.problem(422, "invalid_job");
    assert_eq!((unknown["errors"].as_array().map(Vec::len), &unknown["errors_omitted"]), (Some(100), &json!(150)));
    let keys = app.post_json("/v1/api-keys", &Value::Object(many(50_000))).await;
    assert_eq!(keys.problem(422, "invalid_api_key")["errors_omitted"], 49_900);
    assert!(keys.bytes.len() < 60_000, "{} bytes", keys.bytes.len());
    let long = "y".repeat(900_000);
    for body in
        [json!({ long.clone(): 1 }), json!({ "model": long }), json!({ "device": long }), json!({ "selection": long })]
    {
        let answer = app.post_json("/v1/jobs", &with(&job, body)).await;
        answer.problem(422, "invalid_job");
        assert!(answer.bytes.len() < 10_000, "{} bytes", answer.bytes.len());
    }
}

fn warnings(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()["warnings"].as_array().cloned().unwrap_or_default()
}

#[tokio::test]
async fn a_device_that_no_worker_has_is_told_and_one_that_cannot_be_is_refused() {
    let app = TestApp::without_workers().await;
    let job = app.quick_job().await;
    let post = async |device: Value| app.post_json("/v1/jobs", &with(&job, json!({ "device": device }))).await;
    let nobody = warnings(&post(json!("cpu")).await);
    assert!(
        nobody[0]["detail"].as_str().is_some_and(|detail| detail.contains("Available devices: none")),
        "{nobody:?}"
    );
    let db = app.database().await;
    let mut conn = db.connection().await.expect("a connection");
    for (device, name) in [("cpu", None), ("cuda:1", Some("NVIDIA H100 80GB HBM3"))] {
        let id = practised::ids::WorkerId::new();
        practised::db::workers::register(&mut conn, id, "host", 1, device, name, "0").await.expect("registered");
    }
    for there in [json!(null), json!("cpu"), json!(" CPU "), json!("cuda"), json!("CUDA:1"), json!("h100")] {
        assert_eq!(warnings(&post(there.clone()).await), [] as [Value; 0], "{there}");
    }
    for absent in ["paper", "cuda:0", "A100", "gpu"] {
        let told = warnings(&post(json!(absent)).await);
        assert_eq!(told[0]["code"], "no_such_device", "{told:?}");
        assert!(
            told[0]["detail"].as_str().is_some_and(|detail| detail.contains(absent) && detail.contains("H100")),
            "{told:?}"
        );
    }
    for wrong in ["", "cuda:", "cuda:x", "cpu:0", "a\nb"] {
        assert_eq!(pointers(&post(json!(wrong)).await.problem(422, "invalid_job")), ["/device"], "{wrong:?}");
    }
    let kept = app.get("/v1/jobs").await.json();
    assert_eq!(kept["data"][0]["device"], "gpu", "it is accepted");
    assert_eq!(kept["data"][4]["device"], "h100");
    assert_eq!(kept["data"][5]["device"], "cuda:1", "as workers write it");
}

/// Real faults of this host: folders that are gone.
#[tokio::test]
async fn what_the_host_says_of_a_fault_of_ours_is_in_the_log_and_nowhere_else() {
    let app = TestApp::without_workers().await;
    let job = app.quick_job().await;
    let folder = app.dir.path().display().to_string();
    let silent = |text: &str| assert!(!text.contains(&folder) && !text.contains("os error"), "{text}");

    let _worker = OtherWorker::start(&app, &[], &[]).await;
    // Where the latency child's files and the host's lock would be.
    std::fs::remove_dir_all(app.dir.path().join("other-host")).expect("removed");
    let id = app.submit(&job).await;
    let ended = app.finished(&id, Duration::from_secs(120)).await;
    assert_eq!((&ended["status"], &ended["error"]["code"]), (&json!("failed"), &json!("task_failed")), "{ended}");
    silent(&ended.to_string());
    let events = app.events(&id).await;
    silent(&json!(events).to_string());
    let task = |text: &str| text.rsplit("under task ").next().and_then(|rest| rest.get(..36)).map(str::to_owned);
    let named = task(ended["error"]["detail"].as_str().expect("a detail")).expect("an id");
    let log = std::fs::read_to_string(app.dir.path().join("worker.log")).expect("a log");
    let reason = log.lines().find(|line| line.contains(&named) && line.contains("other-host"));
    assert!(reason.is_some(), "the log has the reason under task {named}: {log}");

    std::fs::remove_dir_all(app.data().join("spool")).expect("removed");
    let upload = app
        .post_bytes("/v1/models", "application/octet-stream", TinyResNet { seed: 9, ..TinyResNet::default() }.bytes())
        .await;
    let problem = upload.problem(500, "internal");
    silent(&problem.to_string());
    let request = problem["request_id"].as_str().expect("an id");
    assert!(app.log().lines().any(|line| line.contains(request) && line.contains("os error 2")), "{}", app.log());
    silent(&app.get("/readyz").await.problem(503, "not_ready").to_string());
}
