//! What a tenant may have at once: tasks that run, jobs that wait.

use futures::future::join_all;
use practised::db::tenants::{self, Caps};
use practised::ids::{Tenant, WorkerId};
use practised::queue::claim::claim;
use practised::queue::claimed::Claim;
use practised::queue::complete::complete;
use practised::queue::lease;
use serde_json::{Value, json};

use super::{brings, let_leases_run_out, nothing_to_take, take};
use crate::support::database::Database;
use crate::support::service::TestApp;

async fn set(base: &Database, tenant: &Tenant, max_running: Option<i32>) {
    let mut conn = base.db.connection().await.expect("a connection");
    tenants::set_caps(&mut conn, tenant, Caps { max_running, max_queued: None }).await.expect("set");
}

async fn workers(base: &Database, count: usize) -> Vec<WorkerId> {
    let mut workers = Vec::new();
    for _ in 0..count {
        workers.push(base.worker().await);
    }
    workers
}

/// What all of them get when they claim at the same moment.
async fn at_once(base: &Database, workers: &[WorkerId]) -> Vec<Claim> {
    let claims = workers.iter().map(|worker| async { claim(&base.db, *worker).await.expect("claims") });
    join_all(claims).await.into_iter().flatten().collect()
}

#[tokio::test]
async fn a_cap_on_running_tasks_holds_exactly_however_many_claim_at_once() {
    let base = Database::start().await;
    let acme = base.tenant("acme").await;
    set(&base, &acme, Some(3)).await;
    let blocks: Vec<String> = (0..7).map(|index| format!("block{index}")).collect();
    let blocks: Vec<&str> = blocks.iter().map(String::as_str).collect();
    for _ in 0..3 {
        base.job_for(&acme, &blocks).await;
    }
    let workers = workers(&base, 16).await;
    for round in 0..10 {
        let claims = at_once(&base, &workers).await;
        assert_eq!(claims.len(), 3, "round {round}: {claims:?}");
        let (running, attempts): (i64, i64) =
            sqlx::query_as("select count(*) filter (where state = 'running'), coalesce(sum(attempt), 0) from task")
                .fetch_one(base.db.pool())
                .await
                .expect("counted");
        assert_eq!((running, attempts), (3, 3), "round {round}: what had to be given back costs no attempt");
        for claim in &claims {
            assert!(lease::release(&base.db, claim).await.expect("given back"));
        }
    }
    base.stop().await;
}

#[tokio::test]
async fn a_tenant_at_its_cap_makes_way_and_goes_on_as_its_tasks_end() {
    let base = Database::start().await;
    let (acme, rival) = (base.tenant("acme").await, base.tenant("rival").await);
    set(&base, &acme, Some(1)).await;
    let first = base.job_for(&acme, &["a"]).await;
    let other = base.job_for(&rival, &["a"]).await;
    let workers = workers(&base, 4).await;
    let held = take(&base.db, workers[0]).await;
    assert_eq!(held.job, first);
    assert_eq!([take(&base.db, workers[1]).await.job, take(&base.db, workers[2]).await.job], [other; 2]);
    assert!(nothing_to_take(&base.db, workers[3]).await, "acme has a task left, and one that runs");
    complete(&base.db, &held, &brings(held.kind)).await.expect("stored");
    assert_eq!(take(&base.db, workers[3]).await.job, first);
    // A worker that died holds nothing.
    let_leases_run_out(&base.db, workers[3]).await;
    assert_eq!(take(&base.db, workers[0]).await.job, first);
    base.stop().await;
}

#[tokio::test]
async fn the_usual_cap_counts_for_tenants_without_their_own_and_none_at_all_lets_one_rest() {
    let base = Database::start().await;
    let (acme, rival, resting) = (base.tenant("acme").await, base.tenant("rival").await, base.tenant("resting").await);
    let mut conn = base.db.connection().await.expect("a connection");
    tenants::set_usual_running(&mut conn, Some(1)).await.expect("set");
    drop(conn);
    set(&base, &acme, Some(2)).await;
    set(&base, &resting, Some(0)).await;
    for tenant in [&resting, &acme, &rival] {
        base.job_for(tenant, &["a", "b", "c"]).await;
    }
    let workers = workers(&base, 8).await;
    assert_eq!(at_once(&base, &workers).await.len(), 3);
    let mut conn = base.db.connection().await.expect("a connection");
    for (tenant, expected) in [(&acme, 2), (&rival, 1), (&resting, 0)] {
        assert_eq!(tenants::running(&mut conn, tenant).await.expect("counted"), expected, "{tenant}");
    }
    drop(conn);
    base.stop().await;
}

/// How much there is of what a submission writes.
async fn rows(app: &TestApp) -> Vec<i64> {
    let db = app.database().await;
    let mut counts = Vec::new();
    for table in ["job", "task", "event", "idempotency_key"] {
        let count = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("select count(*) from {table}")));
        counts.push(count.fetch_one(db.pool()).await.expect("counted"));
    }
    counts
}

#[tokio::test]
async fn a_full_queue_is_said_and_nothing_half_written_stays() {
    let app = TestApp::start(&["--workers", "0", "--max-queued-per-tenant", "2"]).await;
    let job = app.quick_job().await;
    let submit = async |key: &str| app.send(app.post("/v1/jobs").header("idempotency-key", key).json(&job)).await;
    let answers = join_all((0..10).map(|index| submit_as(&app, &job, index))).await;
    let accepted: Vec<&String> = answers.iter().flatten().collect();
    assert_eq!(accepted.len(), 2, "{answers:?}");
    let before = rows(&app).await;

    let answer = submit("late").await;
    let problem = answer.problem(429, "queue_full");
    assert_eq!((answer.header("retry-after"), &problem["retryable"]), ("30", &json!(true)));
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(
        detail.contains("tenant local") && detail.contains("2 queued jobs, its limit") && detail.contains("max_queued"),
        "{detail}"
    );
    assert_eq!(rows(&app).await, before);
    let first = answers.iter().position(Option::is_some).expect("one was accepted");
    assert_eq!(submit(&format!("key {first}")).await.status, 202, "what was accepted is answered again");

    let made = app.post_json("/v1/api-keys", &json!({ "tenant": "acme" })).await.json();
    let other =
        app.post("/v1/jobs").bearer_auth(made["key"].as_str().expect("a key")).json(&json!({ "model": job["model"] }));
    app.send(other).await.problem(404, "model_not_found");

    assert_eq!(app.send(app.post(&format!("/v1/jobs/{}/cancel", accepted[0]))).await.status, 200);
    assert_eq!(submit("late").await.status, 202, "a refusal is not kept under its key");
    submit("later").await.problem(429, "queue_full");
    put(&app, "local", &json!({ "max_queued": 3 })).await;
    assert_eq!(submit("later").await.status, 202);
    app.examine().await;
}

/// The job's id, or `None` where the queue is full.
async fn submit_as(app: &TestApp, job: &Value, index: usize) -> Option<String> {
    let request = app.post("/v1/jobs").header("idempotency-key", format!("key {index}")).json(job);
    let answer = app.send(request).await;
    if answer.status == 202 {
        return Some(answer.id());
    }
    answer.problem(429, "queue_full");
    None
}

async fn put(app: &TestApp, tenant: &str, body: &Value) -> Value {
    let answer = app.send(app.http.put(app.path(&format!("/v1/tenants/{tenant}"))).json(body)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn admins_see_and_set_what_a_tenant_may_have() {
    let mut app = TestApp::start(&["--workers", "0", "--max-running-per-tenant", "4"]).await;
    app.submit(&app.quick_job().await).await;
    let local = app.get("/v1/tenants/local").await.json();
    assert_eq!(local["counts"], json!({ "max_running": 4, "max_queued": null }));
    assert_eq!(
        (&local["max_running"], &local["running_tasks"], &local["queued_jobs"]),
        (&json!(null), &json!(0), &json!(1))
    );

    let limits = app.get("/v1/limits").await.json();
    assert_eq!(
        (&limits["tenant"], &limits["max_running"], &limits["max_queued"], &limits["queued_jobs"]),
        (&json!("local"), &json!(4), &json!(null), &json!(1))
    );
    assert_eq!((&limits["model_bytes"], &limits["images"]["pixels"]), (&json!(2u64 << 30), &json!(50_000_000)));

    let set = put(&app, "acme", &json!({ "max_running": 9, "max_queued": 0 })).await;
    assert_eq!(set["counts"], json!({ "max_running": 9, "max_queued": 0 }));
    assert_eq!(put(&app, "acme", &json!({})).await["counts"], local["counts"], "its own caps are gone");
    let names: Vec<Value> = app.get("/v1/tenants").await.json()["data"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|tenant| tenant["name"].clone())
        .collect();
    assert_eq!(names, ["acme", "local"]);

    app.get("/v1/tenants/nobody").await.problem(404, "tenant_not_found");
    let wrong =
        app.http.put(app.path("/v1/tenants/acme")).json(&json!({ "max_running": -1, "max_queued": "2", "max": 3 }));
    let problem = app.send(wrong).await.problem(422, "invalid_tenant");
    let places: Vec<_> = problem["errors"].as_array().expect("faults").iter().map(|fault| &fault["pointer"]).collect();
    assert_eq!(places, ["/max_running", "/max_queued", "/max"]);
    let nameless = app.http.put(app.path("/v1/tenants/A%20B")).json(&json!({}));
    app.send(nameless).await.problem(422, "invalid_tenant");

    app.terminate();
    app.restart(&["--workers", "0"]);
    assert_eq!(app.get("/v1/tenants/local").await.json()["counts"]["max_running"], 4, "kept where nothing is said");
    app.terminate();
    app.restart(&["--workers", "0", "--max-running-per-tenant", "none"]);
    assert_eq!(app.get("/v1/tenants/local").await.json()["counts"]["max_running"], json!(null));
}
