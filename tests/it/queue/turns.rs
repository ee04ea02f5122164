//! Whose turn it is: priorities and waiting, large jobs beside small ones.

use std::time::Duration;

use practised::db::{JobPriority, TaskKind};
use practised::ids::JobId;
use practised::queue::AGEING;
use practised::queue::claim::claim;
use practised::queue::claimed::Claim;
use practised::queue::complete::complete;
use serde_json::json;
use tokio::time::timeout;

use super::{brings, position, take};
use crate::support::database::Database;

use JobPriority::{High, Low, Normal};

/// What so many workers claim, one after the other.
async fn claimed(base: &Database, workers: usize) -> Vec<Claim> {
    let mut claims = Vec::new();
    for _ in 0..workers {
        claims.push(take(&base.db, base.worker().await).await);
    }
    claims
}

fn jobs_of(claims: &[Claim]) -> Vec<JobId> {
    claims.iter().map(|claim| claim.job).collect()
}

#[tokio::test]
async fn a_higher_priority_goes_first_whenever_it_came() {
    let base = Database::start().await;
    let low = base.job_of(Low, &[]).await;
    let normal = base.job_of(Normal, &[]).await;
    let high = base.job_of(High, &[]).await;
    let places = [position(&base, high).await, position(&base, normal).await, position(&base, low).await];
    assert_eq!(places, [Some(0), Some(1), Some(2)], "the customer is told the same");
    assert_eq!(jobs_of(&claimed(&base, 3).await), [high, normal, low]);
    base.stop().await;
}

/// However many high ones come after it, a low job begins: after twice the time of a rise it is one of them, and older.
#[tokio::test]
async fn waiting_raises_a_job_by_one_class_for_each_half_hour() {
    let base = Database::start().await;
    let low = base.job_of(Low, &[]).await;
    let normal = base.job_of(Normal, &[]).await;
    let high = base.job_of(High, &[]).await;
    let rise = AGEING.as_secs_f64();
    let first_three = async |age: f64| {
        base.age(low, age).await;
        let places = [position(&base, low).await, position(&base, normal).await, position(&base, high).await];
        let mut order: Vec<_> = places.into_iter().zip(["low", "normal", "high"]).collect();
        order.sort();
        order.into_iter().map(|(_, name)| name).collect::<Vec<_>>()
    };
    assert_eq!(first_three(rise - 60.0).await, ["high", "normal", "low"]);
    assert_eq!(first_three(rise + 60.0).await, ["high", "low", "normal"], "a normal one, and older");
    assert_eq!(first_three(2.0 * rise - 60.0).await, ["high", "low", "normal"]);
    assert_eq!(first_three(2.0 * rise + 60.0).await, ["low", "high", "normal"], "a high one, and older");
    assert_eq!(jobs_of(&claimed(&base, 3).await), [low, high, normal]);
    base.stop().await;
}

/// There is nothing above high: who waited for hours does not stand before all that came since whatever its class.
#[tokio::test]
async fn no_job_rises_above_high() {
    let base = Database::start().await;
    let ancient = base.job_of(Normal, &["a", "b"]).await;
    base.age(ancient, 10.0 * AGEING.as_secs_f64()).await;
    let high = base.job_of(High, &[]).await;
    assert_eq!(
        jobs_of(&claimed(&base, 2).await),
        [ancient, high],
        "the older first, then the one of which nothing runs"
    );
    base.stop().await;
}

#[tokio::test]
async fn small_jobs_go_on_beside_a_large_one() {
    let base = Database::start().await;
    let blocks: Vec<String> = (0..50).map(|index| format!("block{index}")).collect();
    let blocks: Vec<&str> = blocks.iter().map(String::as_str).collect();
    let large = base.job_of(Normal, &blocks).await;
    let mut small = Vec::new();
    for _ in 0..3 {
        small.push(base.job_of(Normal, &["a"]).await);
    }
    let claims = claimed(&base, 6).await;
    assert_eq!(
        jobs_of(&claims),
        [large, small[0], small[1], small[2], large, small[0]],
        "each gets one, the oldest first"
    );
    assert!(claims[..4].iter().all(|claim| claim.kind == TaskKind::Measure), "within a job, its journey is the order");

    // Whoever is free goes to the job that has least.
    complete(&base.db, &claims[2], &brings(TaskKind::Measure)).await.expect("stored");
    assert_eq!(jobs_of(&claimed(&base, 1).await), [small[1]]);
    base.stop().await;
}

#[tokio::test]
async fn tenants_take_turns_however_much_each_has_queued() {
    let base = Database::start().await;
    let (acme, rival) = (base.tenant("acme").await, base.tenant("rival").await);
    let mut many = Vec::new();
    for _ in 0..4 {
        many.push(base.job_for(&acme, &["a", "b"]).await);
    }
    let few = base.job_for(&rival, &["a", "b"]).await;
    let claims = claimed(&base, 6).await;
    assert_eq!(
        jobs_of(&claims),
        [many[0], few, many[1], few, few, many[2]],
        "three each, and the one whose job was begun longer ago first"
    );
    complete(&base.db, &claims[1], &brings(claims[1].kind)).await.expect("stored");
    complete(&base.db, &claims[3], &brings(claims[3].kind)).await.expect("stored");
    assert_eq!(jobs_of(&claimed(&base, 1).await), [many[3]], "the rival has nothing left just now");
    base.stop().await;
}

/// With a single worker nothing runs whenever it claims, and the oldest job of all would be next: the tenants' jobs take turns.
#[tokio::test]
async fn with_one_worker_a_tenants_job_does_not_wait_for_all_of_anothers() {
    let base = Database::start().await;
    let (acme, rival, worker) = (base.tenant("acme").await, base.tenant("rival").await, base.worker().await);
    let mut many = Vec::new();
    for _ in 0..5 {
        many.push(base.job_for(&acme, &[]).await);
    }
    let few = [base.job_for(&rival, &[]).await, base.job_for(&rival, &[]).await];
    let mut ended = Vec::new();
    while let Some(claim) = claim(&base.db, worker).await.expect("claims") {
        complete(&base.db, &claim, &brings(claim.kind)).await.expect("stored");
        ended.extend((claim.kind == TaskKind::Export).then_some(claim.job));
    }
    assert_eq!(ended, [many[0], few[0], many[1], few[1], many[2], many[3], many[4]]);
    base.stop().await;
}

/// One worker does one job after the other: nothing else runs whenever it claims.
#[tokio::test]
async fn one_worker_ends_a_job_before_it_begins_the_next() {
    let base = Database::start().await;
    let worker = base.worker().await;
    let jobs = [base.job_of(Normal, &["a", "b"]).await, base.job_of(Normal, &["a"]).await];
    let mut order = Vec::new();
    for _ in 0..9 {
        let claim = take(&base.db, worker).await;
        order.push(claim.job);
        complete(&base.db, &claim, &brings(claim.kind)).await.expect("stored");
    }
    assert_eq!(order, [[jobs[0]; 5].as_slice(), [jobs[1]; 4].as_slice()].concat());
    base.stop().await;
}

#[tokio::test]
async fn a_claim_waits_for_nobody_and_locks_what_it_takes_alone() {
    let base = Database::start().await;
    let (first, second) = (base.job_of(Normal, &["a"]).await, base.job_of(Normal, &["a"]).await);
    let mut busy = base.db.begin().await.expect("begins");
    sqlx::query("select from task where job = $1 for update").bind(first).execute(&mut *busy).await.expect("locked");
    let worker = base.worker().await;
    let mut claiming = base.db.begin().await.expect("begins");
    let rules = practised::queue::claim::RULES;
    let claim = practised::db::claims::claim(&mut claiming, worker, rules);
    let claim =
        timeout(Duration::from_secs(10), claim).await.expect("waits for nobody").expect("claims").expect("a task");
    assert_eq!(claim.claim.job, second, "the first job's tasks are skipped");
    drop(busy);
    let other = take(&base.db, base.worker().await).await;
    assert_eq!(other.job, first, "the claim that has not ended holds nothing of it");
    let rest = claimed(&base, 2).await;
    assert_eq!(rest.iter().map(|claim| claim.block.as_deref()).collect::<Vec<_>>(), [Some("a"); 2], "{rest:?}");
    drop(claiming);
    base.stop().await;
}

#[tokio::test]
async fn a_customer_names_a_priority_and_sees_it() {
    let app = crate::support::service::TestApp::without_workers().await;
    let mut job = app.quick_job().await;
    let normal = app.submit(&job).await;
    job["priority"] = "high".into();
    let high = app.submit(&job).await;
    assert_eq!(
        (&app.job(&normal).await["priority"], &app.job(&high).await["priority"]),
        (&json!("normal"), &json!("high"))
    );
    assert_eq!(
        (&app.job(&high).await["queue_position"], &app.job(&normal).await["queue_position"]),
        (&json!(0), &json!(1))
    );
    let listed = app.get("/v1/jobs?order=asc").await.json();
    let priorities: Vec<_> = listed["data"].as_array().expect("a list").iter().map(|job| &job["priority"]).collect();
    assert_eq!(priorities, [&json!("normal"), &json!("high")]);
    for nonsense in [json!("urgent"), json!(3), json!(null)] {
        job["priority"] = nonsense;
        let problem = app.post_json("/v1/jobs", &job).await.problem(422, "invalid_job");
        assert_eq!(problem["errors"][0]["pointer"], "/priority");
        assert!(problem["errors"][0]["hint"].as_str().is_some_and(|hint| hint.contains("\"low\"")), "{problem}");
    }
}
