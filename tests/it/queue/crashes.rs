//! What the loss of a worker costs a task, and what durable progress forgives.

use std::time::Duration;

use practised::db::{Db, TaskKind};
use practised::ids::WorkerId;
use practised::queue::claim::claim;
use practised::queue::claimed::Claim;
use practised::queue::complete::complete;
use practised::queue::fail::{Verdict, fail};
use practised::queue::{MAX_ATTEMPTS, MAX_CRASHES, lease, rescue};
use serde_json::json;

use super::{brings, job, let_leases_run_out, let_waits_end, nothing_to_take, our_fault, take};
use crate::support::database::Database;

/// The job's fine-tuning, claimed.
async fn finetuning(base: &Database, worker: WorkerId) -> Claim {
    base.job(json!({ "finetune": {} }), &["a"]).await;
    loop {
        let claim = take(&base.db, worker).await;
        if claim.kind == TaskKind::Finetune {
            return claim;
        }
        complete(&base.db, &claim, &brings(claim.kind)).await.expect("stored");
    }
}

async fn checkpoint(db: &Db, claim: &Claim, onward: bool) {
    assert!(lease::keep_checkpoint(db, claim, claim.lease.to_string().as_bytes(), onward).await.expect("kept"));
}

/// The worker dies, and the task is taken up again, however long it would wait.
async fn crash(db: &Db, worker: WorkerId) -> Claim {
    let_leases_run_out(db, worker).await;
    let_waits_end(db).await;
    take(db, worker).await
}

#[tokio::test]
async fn a_task_that_kills_its_worker_every_time_fails_its_job_and_no_other() {
    let base = Database::start().await;
    let (db, worker) = (&base.db, base.worker().await);
    let poison = base.job(json!({ "finetune": null }), &["a"]).await;
    let neighbour = base.job(json!({ "finetune": null }), &["a"]).await;
    for crashes in 0..MAX_CRASHES {
        assert_eq!(rescue::sweep(db).await.expect("swept"), 0, "after {crashes}");
        let claimed = take(db, worker).await;
        assert_eq!((claimed.job, claimed.kind), (poison, TaskKind::Measure));
        assert_eq!((claimed.attempt, claimed.crashes), (1, crashes));
        let_leases_run_out(db, worker).await;
        let_waits_end(db).await;
    }
    assert_eq!(rescue::sweep(db).await.expect("swept"), 1);
    assert_eq!(rescue::sweep(db).await.expect("swept"), 0);
    let error = job(db, poison).await.error.expect("an error");
    assert_eq!(error["code"], "task_crashed");
    assert!(error["detail"].as_str().expect("text").contains("8 times in a row while it ran measure"), "{error}");
    assert_eq!(take(db, worker).await.job, neighbour);
    base.stop().await;
}

/// Half a minute of kills, as fast as workers come back, uses up nothing.
#[tokio::test]
async fn the_waits_between_crashes_grow_so_that_no_burst_of_kills_fails_a_job() {
    let base = Database::start().await;
    let (db, worker) = (&base.db, base.worker().await);
    base.job(json!({ "finetune": null }), &[]).await;
    take(db, worker).await;
    let_leases_run_out(db, worker).await;
    let again = take(db, worker).await;
    assert_eq!(again.crashes, 1, "the first crash waits for nothing");
    let mut waits = Vec::new();
    for crashes in 2..MAX_CRASHES {
        let_leases_run_out(db, worker).await;
        assert!(nothing_to_take(db, worker).await, "crash {crashes} waits a while first");
        // So many seconds later it waits no more.
        let mut waited = 0;
        let claimed = loop {
            let later = "update task set lease_until = lease_until - interval '1 second'";
            sqlx::query(later).execute(db.pool()).await.expect("time passes");
            waited += 1;
            if let Some(claimed) = claim(db, worker).await.expect("claims") {
                break claimed;
            }
        };
        assert_eq!(claimed.crashes, crashes);
        waits.push(waited);
    }
    // A busy machine lets some real time pass between.
    let expected = [2, 4, 8, 16, 32, 64];
    assert!(waits.iter().zip(expected).all(|(got, wait)| *got <= wait && *got + 2 >= wait), "{waits:?}");
    base.stop().await;
}

#[tokio::test]
async fn a_crash_after_a_checkpoint_costs_nothing_and_forgives_what_was_before() {
    let base = Database::start().await;
    let (db, worker) = (&base.db, base.worker().await);
    let mut claim = finetuning(&base, worker).await;
    for _ in 0..3 {
        for crashes in 1..MAX_CRASHES {
            claim = crash(db, worker).await;
            assert_eq!((claim.attempt, claim.crashes), (1, crashes));
        }
        checkpoint(db, &claim, true).await;
        let_leases_run_out(db, worker).await;
        assert_eq!(rescue::sweep(db).await.expect("swept"), 0, "it got further");
        claim = take(db, worker).await;
        assert_eq!((claim.attempt, claim.crashes), (1, 0), "at once, and with nothing counted");
    }
    // What began again from the start got no further than what is kept, and counts.
    checkpoint(db, &claim, false).await;
    assert_eq!(crash(db, worker).await.crashes, 1);
    base.stop().await;
}

#[tokio::test]
async fn a_failure_after_a_checkpoint_costs_nothing_either() {
    let base = Database::start().await;
    let (db, worker) = (&base.db, base.worker().await);
    let mut claim = finetuning(&base, worker).await;
    for attempt in 1..MAX_ATTEMPTS {
        assert_eq!(claim.attempt, attempt);
        assert_eq!(fail(db, &claim, &our_fault(), true).await.expect("told"), Verdict::Retried);
        let_waits_end(db).await;
        claim = take(db, worker).await;
    }
    assert_eq!(claim.attempt, MAX_ATTEMPTS);
    checkpoint(db, &claim, true).await;
    assert_eq!(fail(db, &claim, &our_fault(), true).await.expect("told"), Verdict::Retried);
    let_waits_end(db).await;
    let claim = take(db, worker).await;
    assert_eq!(claim.attempt, 1);
    checkpoint(db, &claim, true).await;
    assert!(lease::release(db, &claim).await.expect("released"));
    assert_eq!(take(db, worker).await.attempt, 1);
    base.stop().await;
}

/// A worker that was away comes back before anybody has its task: what it keeps saves the job from the sweep.
#[tokio::test]
async fn a_worker_that_comes_back_with_progress_is_not_swept() {
    let base = Database::start().await;
    let (db, worker) = (&base.db, base.worker().await);
    let mut claim = finetuning(&base, worker).await;
    for _ in 1..MAX_CRASHES {
        claim = crash(db, worker).await;
    }
    let_leases_run_out(db, worker).await;
    checkpoint(db, &claim, true).await;
    assert_eq!(rescue::sweep(db).await.expect("swept"), 0);
    assert_eq!(lease::renew(db, &claim).await.expect("asked"), lease::LeaseState::Held);
    tokio::time::sleep(Duration::from_millis(10)).await;
    complete(db, &claim, &brings(claim.kind)).await.expect("stored");
    base.stop().await;
}

/// The bounds of `task` are the queue's, which has them in one place for code and queries.
#[tokio::test]
async fn the_table_allows_as_many_attempts_and_crashes_as_the_queue() {
    let base = Database::start().await;
    let checks: Vec<String> = sqlx::query_scalar(
        "select pg_get_constraintdef(oid) from pg_constraint where conrelid = 'task'::regclass and contype = 'c'",
    )
    .fetch_all(base.db.pool())
    .await
    .expect("listed");
    for bound in [format!("(attempt <= {MAX_ATTEMPTS})"), format!("(crashes <= {})", MAX_CRASHES - 1)] {
        assert!(checks.iter().any(|check| check.contains(&bound)), "{bound} is in none of {checks:?}");
    }
    base.stop().await;
}
