//! API keys and tenants: what is refused without a key, beyond a key's scope, and of another tenant's.

use std::path::Path;

use practised::blobs::put_bytes;
use practised::db::artifacts::{self, ArtifactRow};
use practised::hash::sha256_hex;
use serde_json::{Value, json};

use crate::support::networks::TinyResNet;
use crate::support::service::{Answer, TestApp};

/// What needs no key: it tells nothing about anybody's rows.
const OPEN: [&str; 4] = ["/healthz", "/readyz", "/v1/errors", "/v1/errors/{code}"];

/// What takes the scope `admin`.
const ADMIN: [&str; 5] = ["/v1/api-keys", "/v1/api-keys/{id}", "/v1/tenants", "/v1/tenants/{name}", "/metrics"];

/// Every method and path that the router knows, as the sources say: what is added is walked, too.
fn routes() -> Vec<(String, String)> {
    let mut routes = Vec::new();
    for file in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http")).expect("listed").flatten() {
        if file.path().is_dir() {
            continue; // No routes are there.
        }
        let text = std::fs::read_to_string(file.path()).expect("a source");
        for route in text.split(".route(").skip(1) {
            let mut parts = route.splitn(3, '"').skip(1);
            let path = parts.next().expect("a path").to_owned();
            let rest = parts.next().expect("its methods").split(".route(").next().unwrap_or_default();
            let methods = rest.split("\n\n").next().unwrap_or_default();
            for method in ["get", "post", "put", "patch", "delete"] {
                if methods.contains(&format!("{method}(")) {
                    routes.push((method.to_uppercase(), path.clone()));
                }
            }
        }
    }
    assert!(routes.len() > 20, "{routes:?}");
    assert!(routes.contains(&("DELETE".to_owned(), "/v1/models/{id}".to_owned())), "{routes:?}");
    assert!(routes.contains(&("POST".to_owned(), "/v1/jobs/{id}/cancel".to_owned())), "{routes:?}");
    routes
}

async fn ask(app: &TestApp, method: &str, path: &str) -> Answer {
    let method = method.parse().expect("a method");
    app.send(app.http.request(method, app.path(path)).json(&json!({}))).await
}

/// A key of a tenant; the app shows the admin's.
async fn make_key(app: &TestApp, tenant: &str, scopes: &[&str]) -> String {
    let made = app.post_json("/v1/api-keys", &json!({ "tenant": tenant, "scopes": scopes })).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.json()["key"].as_str().expect("the key").to_owned()
}

#[tokio::test]
async fn every_endpoint_is_refused_without_a_key_and_beyond_its_scope() {
    let (mut app, admin) = TestApp::with_keys().await;
    app.show(Some(&admin));
    let reads = make_key(&app, "acme", &["read"]).await;
    let writes = make_key(&app, "acme", &["write"]).await;
    let both = make_key(&app, "acme", &["read", "write"]).await;
    for (method, path) in routes() {
        let at = path
            .replace("{id}", "0190aaaa-0000-7000-8000-000000000000")
            .replace("{name}", "x")
            .replace("{code}", "internal");
        app.show(None);
        let answer = ask(&app, &method, &at).await;
        if OPEN.contains(&path.as_str()) {
            assert_eq!(answer.status, 200, "{method} {path}");
            continue;
        }
        answer.problem(401, "key_missing");
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"practised\"", "{method} {path}");
        app.show(Some("practised_0123"));
        let answer = ask(&app, &method, &at).await;
        answer.problem(401, "key_invalid");
        assert!(answer.header("www-authenticate").contains("error=\"invalid_token\""), "{method} {path}");

        let (short, scope) = match (ADMIN.contains(&path.as_str()), method.as_str()) {
            (true, _) => (&both, "admin"),
            (false, "GET") => (&writes, "read"),
            (false, _) => (&reads, "write"),
        };
        app.show(Some(short));
        let answer = ask(&app, &method, &at).await;
        answer.problem(403, "scope_missing");
        assert!(answer.header("www-authenticate").contains(&format!("scope=\"{scope}\"")), "{method} {path}");
    }
}

/// What belongs to a tenant: a model, an image set, and a job with everything that a job can have.
struct Rows {
    model: String,
    images: String,
    job: String,
}

impl Rows {
    async fn of(app: &TestApp) -> Self {
        let mut body = app.quick_job().await;
        body["metadata"] = json!({ "secret": "plans" });
        let job = app.submit(&body).await;
        let db = app.database().await;
        let (id, mut tx) = (job.parse().expect("an id"), db.begin().await.expect("begins"));
        artifacts::insert_report(&mut tx, id, r#"{"blocks": []}"#).await.expect("a report");
        let sha256 = put_bytes(&mut tx, &"acme".parse().expect("a name"), job.as_bytes()).await.expect("stored");
        let size = job.len() as i64;
        let file = ArtifactRow { name: "student.onnx".into(), media_type: "text/plain".into(), sha256, size };
        artifacts::insert(&mut tx, id, &file).await.expect("an artifact");
        tx.commit().await.expect("committed");
        let text = |name: &str| body[name].as_str().expect("an id").to_owned();
        Self { model: text("model"), images: text("images"), job }
    }

    /// A path of the router with these ids in it; `None` where it names no row.
    fn path(&self, path: &str) -> Option<String> {
        let id = match path.split('/').nth(2)? {
            "models" => &self.model,
            "image-sets" => &self.images,
            "jobs" => &self.job,
            _ => return None,
        };
        path.contains("{id}").then(|| path.replace("{id}", id).replace("{name}", "student.onnx"))
    }
}

#[tokio::test]
async fn nobody_finds_what_another_tenant_owns() {
    let (mut app, admin) = TestApp::with_keys().await;
    app.show(Some(&admin));
    let acme = make_key(&app, "acme", &["read", "write"]).await;
    let rival = make_key(&app, "rival", &["read", "write"]).await;
    app.show(Some(&acme));
    let rows = Rows::of(&app).await;

    for other in [&rival, &admin] {
        app.show(Some(other));
        for (method, path) in routes() {
            let Some(at) = rows.path(&path) else { continue };
            let answer = ask(&app, &method, &at).await;
            assert_eq!(answer.status, 404, "{method} {path}: {answer:?}");
            assert!(!String::from_utf8_lossy(&answer.bytes).contains("plans"), "{method} {path}");
        }
        for list in ["/v1/models", "/v1/image-sets", "/v1/jobs"] {
            assert_eq!(app.get(list).await.json()["data"], json!([]), "{list}");
        }
    }
    let net = TinyResNet::default();
    let own = app.upload_model(&net).await;
    let steals = async |body: Value| app.post_json("/v1/jobs", &body).await;
    steals(json!({ "model": rows.model })).await.problem(404, "model_not_found");
    steals(json!({ "model": own, "images": rows.images })).await.problem(404, "image_set_not_found");
    assert_eq!(app.get(&format!("/v1/jobs?model={}", rows.model)).await.json()["data"], json!([]));

    app.show(Some(&acme));
    for (method, path) in routes().into_iter().filter(|(method, _)| method == "GET") {
        let Some(at) = rows.path(&path) else { continue };
        assert_eq!(ask(&app, &method, &at).await.status, 200, "{path} is there for its owner");
    }
}

#[tokio::test]
async fn the_same_bytes_and_the_same_idempotency_key_mean_nothing_beyond_a_tenant() {
    let (mut app, admin) = TestApp::with_keys().await;
    app.show(Some(&admin));
    let keys = [make_key(&app, "acme", &["read", "write"]).await, make_key(&app, "rival", &["read", "write"]).await];
    let mut models = Vec::new();
    let mut jobs = Vec::new();
    for key in &keys {
        app.show(Some(key));
        let net = TinyResNet::default();
        let answer = app.post_bytes("/v1/models", "application/octet-stream", net.bytes()).await;
        assert_eq!(answer.status, 201, "new to this tenant: {answer:?}");
        assert_eq!(app.post_bytes("/v1/models", "application/octet-stream", net.bytes()).await.status, 200);
        models.push(answer.id());
        for _ in 0..2 {
            let job = app.post("/v1/jobs").header("idempotency-key", "one").json(&json!({ "model": answer.id() }));
            let answer = app.send(job).await;
            assert_eq!(answer.status, 202, "{answer:?}");
            jobs.push(answer.id());
        }
    }
    assert_ne!(models[0], models[1]);
    assert_eq!((&jobs[0], &jobs[2]), (&jobs[1], &jobs[3]));
    assert_ne!(jobs[0], jobs[2]);
    assert_eq!(app.delete(&format!("/v1/models/{}", models[0])).await.status, 404);
    app.examine().await;
}

#[tokio::test]
async fn a_key_is_shown_once_and_a_revoked_one_opens_nothing() {
    let (mut app, admin) = TestApp::with_keys().await;
    app.show(Some(&admin));
    let made = app.post_json("/v1/api-keys", &json!({ "tenant": "acme" })).await;
    assert_eq!((made.status, made.header("cache-control")), (201, "no-store"));
    let (id, body) = (made.id(), made.json());
    assert_eq!((&body["scopes"], &body["tenant"]), (&json!(["read", "write"]), &json!("acme")));
    let secret = body["key"].as_str().expect("the key").to_owned();
    assert_eq!(made.header("location"), format!("/v1/api-keys/{id}"));

    let listed = String::from_utf8(app.get("/v1/api-keys").await.bytes).expect("text");
    let by_command = TestApp::keys(&app.data(), &["list", "--json"]);
    app.show(Some(&secret));
    assert_eq!(app.get("/v1/jobs").await.status, 200);
    let (log, hash) = (app.log(), sha256_hex(secret.as_bytes()));
    for (place, text) in [("list", &listed), ("command", &by_command), ("log", &log)] {
        assert!(place == "log" || text.contains(&id), "{place}: {text}");
        assert!(!text.contains(&secret) && !text.contains(&hash), "{place}: {text}");
    }
    let stored: Vec<String> = sqlx::query_scalar("select api_key::text from api_key where id::text = $1")
        .bind(&id)
        .fetch_all(app.database().await.pool())
        .await
        .expect("read");
    assert!(stored.len() == 1 && stored[0].contains(&hash) && !stored[0].contains(&secret), "{stored:?}");

    app.show(Some(&admin));
    for _ in 0..2 {
        assert_eq!(app.delete(&format!("/v1/api-keys/{id}")).await.status, 204);
    }
    app.delete("/v1/api-keys/0190aaaa-0000-7000-8000-000000000000").await.problem(404, "api_key_not_found");
    app.show(Some(&secret));
    app.get("/v1/jobs").await.problem(401, "key_invalid");
}

#[tokio::test]
async fn a_key_that_is_asked_for_wrongly_is_refused_with_every_fault() {
    let app = TestApp::without_workers().await;
    let body = json!({ "tenant": "Acme & Co", "scopes": ["read", "fly"], "scope": "read" });
    let problem = app.post_json("/v1/api-keys", &body).await.problem(422, "invalid_api_key");
    let faults = problem["errors"].as_array().expect("faults");
    let places: Vec<_> = faults.iter().filter_map(|fault| fault["pointer"].as_str()).collect();
    assert_eq!(places, ["/tenant", "/scopes", "/scope"]);
    assert!(faults.iter().all(|fault| fault["hint"].as_str().is_some_and(|hint| hint.len() > 10)), "{problem}");
    app.post_json("/v1/api-keys", &json!({ "scopes": [] })).await.problem(422, "invalid_api_key");
    assert_eq!(app.get("/v1/api-keys").await.json()["data"], json!([]));
}

/// The quick start stays as it is; who shows a key all the same is its tenant.
#[tokio::test]
async fn on_loopback_no_key_is_needed_and_one_that_is_shown_counts() {
    let mut app = TestApp::without_workers().await;
    let model = app.upload_model(&TinyResNet::default()).await;
    let key = make_key(&app, "acme", &["read"]).await;
    app.show(Some(&key));
    app.get(&format!("/v1/models/{model}")).await.problem(404, "model_not_found");
    app.post_bytes("/v1/models", "application/octet-stream", vec![1]).await.problem(403, "scope_missing");
    app.show(Some("practised_wrong"));
    app.get("/v1/models").await.problem(401, "key_invalid");
    app.show(None);
    let basic = app.http.get(app.path(&format!("/v1/models/{model}"))).basic_auth("proxy", Some("word"));
    assert_eq!(app.send(basic).await.status, 200, "that was for something in front");
}

#[tokio::test]
async fn a_service_that_others_reach_starts_once_a_key_exists() {
    let dir = crate::support::cluster::data_dir("data").await;
    let data = dir.path().join("data");
    let key = TestApp::keys(&data, &["create", "--tenant", "acme", "--scopes", "read"]).trim().to_owned();
    let id = TestApp::keys(&data, &["list"]).lines().nth(1).expect("a row")[..36].to_owned();
    let mut app = TestApp::start_in(dir, &["--workers", "0", "--listen", "0.0.0.0:0"]);
    app.url = app.url.replace("0.0.0.0", "127.0.0.1");
    app.get("/v1/models").await.problem(401, "key_missing");
    assert_eq!(app.get("/healthz").await.status, 200);
    app.show(Some(&key));
    assert_eq!(app.get("/v1/models").await.status, 200);
    TestApp::keys(&data, &["revoke", &id]);
    app.get("/v1/models").await.problem(401, "key_invalid");
    assert!(TestApp::keys(&data, &["list"]).lines().nth(1).is_some_and(|row| row.ends_with('Z')), "it says since when");
}

#[tokio::test]
async fn what_a_device_computes_is_shown_to_admins() {
    let (mut app, admin) = TestApp::with_keys().await;
    app.show(Some(&admin));
    let acme = make_key(&app, "acme", &["read", "write"]).await;
    app.show(Some(&acme));
    let job = app.submit(&app.quick_job().await).await;
    let db = app.database().await;
    let worker = practised::ids::WorkerId::new();
    let mut conn = db.connection().await.expect("a connection");
    practised::db::workers::register(&mut conn, worker, "host", 1, "cpu", None, "0").await.expect("registered");
    practised::queue::claim::claim(&db, worker).await.expect("claims").expect("a task");
    app.show(Some(&admin));
    let device = app.get("/v1/devices").await.json()["data"][0].clone();
    assert_eq!((&device["state"], &device["job"], &device["task"]), (&json!("busy"), &json!(job), &json!("measure")));
}
