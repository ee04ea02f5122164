//! A task that failed on one worker goes to another if there is one.

use practised::db::jobs::NewJob;
use practised::db::{Db, workers};
use practised::ids::{JobId, WorkerId};
use practised::queue::claim::claim;
use practised::queue::claimed::Claim;
use practised::queue::fail::{Verdict, fail};
use practised::queue::{MAX_CRASHES, UNHEALTHY_AFTER, lease};
use serde_json::json;

use super::{let_leases_run_out, let_waits_end, nothing_to_take, our_fault, take};
use crate::support::database::{Database, new_job};

async fn failing(db: &Db, claim: &Claim) -> Verdict {
    fail(db, claim, &our_fault(), true).await.expect("told")
}

/// The minimum wait is over, the precedence of others is not.
async fn a_moment_later(db: &Db) {
    let now = "update task set run_after = now() where state = 'ready'";
    sqlx::query(now).execute(db.pool()).await.expect("time passes");
}

async fn unhealthy(db: &Db, worker: WorkerId) {
    let mut conn = db.connection().await.expect("a connection");
    for failures in 1..=UNHEALTHY_AFTER {
        assert_eq!(
            workers::failed(&mut conn, worker, "memory ran out", UNHEALTHY_AFTER).await.expect("noted"),
            failures
        );
    }
}

#[tokio::test]
async fn a_task_that_failed_is_left_to_another_worker_for_a_minute() {
    let base = Database::start().await;
    let (db, broken, sound) = (&base.db, base.worker().await, base.worker().await);
    base.job(json!({ "finetune": null }), &[]).await;
    let claim = take(db, broken).await;
    failing(db, &claim).await;
    a_moment_later(db).await;
    assert!(nothing_to_take(db, broken).await, "it failed here");
    assert_eq!(take(db, sound).await.task, claim.task);
    base.stop().await;
}

#[tokio::test]
async fn a_worker_that_fails_fast_spends_no_last_attempt_while_another_lives() {
    let base = Database::start().await;
    let (db, broken, sound) = (&base.db, base.worker().await, base.worker().await);
    base.job(json!({ "finetune": null }), &[]).await;
    // The other one is busy for hours.
    for _ in 0..2 {
        let claim = take(db, broken).await;
        assert_eq!(failing(db, &claim).await, Verdict::Retried);
        let_waits_end(db).await;
    }
    assert!(nothing_to_take(db, broken).await, "the last attempt is another worker's");
    let claim = take(db, sound).await;
    assert_eq!(claim.attempt, 3);
    assert_eq!(failing(db, &claim).await, Verdict::JobFailed, "it failed on both");
    base.stop().await;
}

#[tokio::test]
async fn the_last_crash_is_on_another_worker_too() {
    let base = Database::start().await;
    let (db, first, second) = (&base.db, base.worker().await, base.worker().await);
    base.job(json!({ "finetune": null }), &[]).await;
    for crashes in 0..MAX_CRASHES - 1 {
        assert_eq!(take(db, first).await.crashes, crashes);
        // The slot goes on with another process.
        sqlx::query("update task set lease_until = now() - interval '1 hour' where state = 'running'")
            .execute(db.pool())
            .await
            .expect("time passes");
    }
    assert!(nothing_to_take(db, first).await, "seven times here");
    assert_eq!(take(db, second).await.crashes, MAX_CRASHES - 1);
    base.stop().await;
}

/// Who could not take the task, or does not live, is not waited for.
#[tokio::test]
async fn a_worker_that_could_not_take_the_task_is_not_waited_for() {
    let base = Database::start().await;
    let db = &base.db;
    for other in ["none", "silent", "stopped", "unhealthy", "of another device", "of the same slot"] {
        let (id, model) = (JobId::new(), base.model(other.as_bytes()).await);
        let (config, metadata) = (json!({ "finetune": null }), json!({}));
        let device = (other == "of another device").then_some("cpu");
        let job = NewJob { device, ..new_job(id, model, &config, &metadata) };
        let id = base.submit(job, &[]).await;
        let worker = base.worker().await;
        let second = match other {
            "of another device" => base.worker_on("cuda:0", None).await,
            _ => base.worker().await,
        };
        let mut conn = db.connection().await.expect("a connection");
        match other {
            "none" | "stopped" => workers::stopped(&mut conn, second).await.expect("noted"),
            "unhealthy" => unhealthy(db, second).await,
            "of the same slot" => {
                workers::take_slot(&mut conn, worker, second).await.expect("taken");
            }
            _ => {}
        }
        if other == "silent" {
            let silent = "update worker set seen_at = now() - interval '2 minutes' where id = $1";
            sqlx::query(silent).bind(second.uuid()).execute(db.pool()).await.expect("silent");
        }
        for attempt in 1..=3 {
            let claim = claim(db, worker).await.expect("claims").unwrap_or_else(|| panic!("{other}: {attempt}"));
            assert_eq!((claim.job, claim.attempt), (id, attempt), "{other}");
            failing(db, &claim).await;
            a_moment_later(db).await;
        }
        for gone in [worker, second] {
            workers::stopped(&mut conn, gone).await.expect("noted");
        }
    }
    base.stop().await;
}

#[tokio::test]
async fn a_task_given_back_for_want_of_a_device_costs_nothing_and_goes_elsewhere() {
    let base = Database::start().await;
    let (db, broken, sound) = (&base.db, base.worker().await, base.worker().await);
    let id = base.job(json!({ "finetune": null }), &[]).await;
    let claim = take(db, broken).await;
    assert!(lease::decline(db, &claim, "the device could not be opened").await.expect("given back"));
    assert!(nothing_to_take(db, broken).await);
    let heir = take(db, sound).await;
    assert_eq!((heir.task, heir.attempt, heir.crashes), (claim.task, 1, 0));
    assert!(super::event_kinds(db, id).await.contains(&"task_released".to_owned()));
    let_leases_run_out(db, sound).await;
    base.stop().await;
}

#[tokio::test]
async fn a_slot_keeps_its_failures_over_a_restart_until_a_task_succeeds() {
    let base = Database::start().await;
    let db = &base.db;
    let (slot, first, second) = (WorkerId::new(), base.worker().await, base.worker().await);
    let mut conn = db.connection().await.expect("a connection");
    assert_eq!(workers::take_slot(&mut conn, first, slot).await.expect("taken"), 0);
    unhealthy(db, first).await;
    workers::stopped(&mut conn, first).await.expect("noted");
    assert_eq!(workers::take_slot(&mut conn, second, slot).await.expect("taken"), UNHEALTHY_AFTER);
    let row = async |conn: &mut _| workers::live(conn).await.expect("listed").pop().expect("one lives");
    let shown = row(&mut conn).await;
    assert_eq!((shown.id, shown.health()), (second, "unhealthy"));
    assert_eq!(shown.unhealthy_reason.as_deref(), Some("3 tasks in a row failed, the last one because memory ran out"));
    workers::healed(&mut conn, second).await.expect("noted");
    let shown = row(&mut conn).await;
    assert_eq!((shown.health(), shown.unhealthy_since, shown.unhealthy_reason), ("ok", None, None));
    drop(conn);
    base.stop().await;
}
