//! How jobs end: cancelled, too late, and never twice.

use std::time::Duration;

use practised::db::{JobStatus, TaskKind, events, jobs};
use practised::ids::JobId;
use practised::queue::cancel::{self, Cancelling};
use practised::queue::complete::{Completion, complete};
use practised::queue::fail::{Verdict, fail};
use practised::queue::lease::{self, LeaseState};
use practised::queue::{QueueError, rescue};
use practised::spec::phase::Phase;
use rand::{Rng, SeedableRng};
use serde_json::json;

use super::{brings, event_kinds, job, nothing_to_take, our_fault, take};
use crate::support::database::Database;

#[tokio::test]
async fn a_queued_job_is_cancelled_at_once() {
    let base = Database::start().await;
    let (db, worker) = (&base.db, base.worker().await);
    let id = base.job(json!({ "finetune": null }), &["a"]).await;
    assert_eq!(cancel::request(db, id).await.expect("asked"), Cancelling::Cancelled);
    assert_eq!(cancel::request(db, id).await.expect("asked again"), Cancelling::Cancelled);
    assert_eq!(job(db, id).await.status, JobStatus::Cancelled);
    assert!(nothing_to_take(db, worker).await);
    assert_eq!(event_kinds(db, id).await, ["queued", "cancel_requested", "cancelled"]);
    let missing = cancel::request(db, JobId::new()).await;
    assert!(matches!(missing, Err(QueueError::NoSuchJob(_))), "{missing:?}");
    base.stop().await;
}

#[tokio::test]
async fn a_running_job_is_cancelled_when_its_last_worker_has_stopped() {
    let base = Database::start().await;
    let (db, first, second) = (&base.db, base.worker().await, base.worker().await);
    let id = base.job(json!({ "finetune": null }), &["a", "b"]).await;
    let (measure, score) = (take(db, first).await, take(db, second).await);
    assert_eq!(cancel::request(db, id).await.expect("asked"), Cancelling::Requested);
    assert!(nothing_to_take(db, first).await, "nobody begins with the rest");
    assert_eq!(lease::look(db, &measure).await.expect("asked"), LeaseState::CancelRequested);
    assert_eq!(lease::renew(db, &score).await.expect("asked"), LeaseState::CancelRequested);
    cancel::acknowledge(db, &measure).await.expect("told");
    assert_eq!(job(db, id).await.status, JobStatus::Running);
    // A result that comes too late ends the task as cancelled, a failure too.
    assert_eq!(complete(db, &score, &brings(score.kind)).await.expect("told"), Completion::Cancelled);
    assert_eq!(job(db, id).await.status, JobStatus::Cancelled);
    assert_eq!(event_kinds(db, id).await.last().map(String::as_str), Some("cancelled"));
    base.stop().await;
}

#[tokio::test]
async fn a_failure_after_the_wish_to_cancel_is_a_cancellation() {
    let base = Database::start().await;
    let (db, worker) = (&base.db, base.worker().await);
    let id = base.job(json!({ "finetune": null }), &["a"]).await;
    let claimed = take(db, worker).await;
    cancel::request(db, id).await.expect("asked");
    assert_eq!(fail(db, &claimed, &our_fault(), false).await.expect("told"), Verdict::Cancelled);
    assert_eq!(job(db, id).await.status, JobStatus::Cancelled);
    base.stop().await;
}

#[tokio::test]
async fn a_cancelled_job_does_not_wait_for_a_worker_that_does_not_answer() {
    let base = Database::start().await;
    let (db, worker) = (&base.db, base.worker().await);
    let id = base.job(json!({ "finetune": null }), &["a"]).await;
    let deaf = take(db, worker).await;
    cancel::request(db, id).await.expect("asked");
    assert_eq!(rescue::sweep(db).await.expect("swept"), 0, "it has a few seconds");
    tokio::time::sleep(practised::queue::CANCEL_PATIENCE + Duration::from_millis(100)).await;
    assert_eq!(rescue::sweep(db).await.expect("swept"), 1);
    assert_eq!(job(db, id).await.status, JobStatus::Cancelled);
    assert!(matches!(complete(db, &deaf, &brings(deaf.kind)).await, Err(QueueError::LeaseLost)));
    base.stop().await;
}

#[tokio::test]
async fn cancel_and_complete_at_the_same_moment_leave_one_end() {
    let base = Database::start().await;
    let (db, worker) = (&base.db, base.worker().await);
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(40);
    let mut ended_as = [0; 2];
    for _ in 0..1000 {
        let id = base.job(json!({ "finetune": null }), &[]).await;
        loop {
            let claimed = take(db, worker).await;
            if claimed.kind != TaskKind::Export {
                complete(db, &claimed, &brings(claimed.kind)).await.expect("stored");
                continue;
            }
            let done = brings(claimed.kind);
            let [first, second] = [(); 2].map(|()| Duration::from_micros(random.random_range(0..4000)));
            let completing = async {
                tokio::time::sleep(first).await;
                complete(db, &claimed, &done).await
            };
            let cancelling = async {
                tokio::time::sleep(second).await;
                cancel::request(db, id).await
            };
            let (completed, cancelled) = tokio::join!(completing, cancelling);
            let ended = job(db, id).await;
            let cancelled = cancelled.expect("asked");
            match completed.expect("it held the lease") {
                Completion::Stored => {
                    ended_as[0] += 1;
                    assert_eq!(ended.status, JobStatus::Succeeded);
                    assert_eq!(cancelled, Cancelling::Done(JobStatus::Succeeded));
                }
                Completion::Cancelled => {
                    ended_as[1] += 1;
                    assert_eq!(ended.status, JobStatus::Cancelled);
                    assert!(cancelled != Cancelling::Done(JobStatus::Succeeded), "{cancelled:?}");
                }
            }
            let ends = ["succeeded", "cancelled", "failed", "expired"];
            let kinds = event_kinds(db, id).await;
            assert_eq!(kinds.iter().filter(|kind| ends.contains(&kind.as_str())).count(), 1, "{kinds:?}");
            break;
        }
    }
    assert!(ended_as.iter().all(|count| *count > 50), "both come first often: {ended_as:?}");
    assert!(super::doctor::broken(db).await.is_empty());
    base.stop().await;
}

#[tokio::test]
async fn a_job_past_its_deadline_expires() {
    let base = Database::start().await;
    let (db, worker) = (&base.db, base.worker().await);
    let id = base.job_with_deadline(json!({ "finetune": null }), &["a"], 2.0).await;
    let claimed = take(db, worker).await;
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    assert!(nothing_to_take(db, worker).await, "nobody begins with what is too late");
    assert_eq!(rescue::sweep(db).await.expect("swept"), 1);
    let ended = job(db, id).await;
    assert_eq!(ended.status, JobStatus::Expired);
    assert_eq!(ended.error.expect("an error")["code"], "deadline_exceeded");
    assert_eq!(lease::look(db, &claimed).await.expect("asked"), LeaseState::Lost);
    base.stop().await;
}

#[tokio::test]
async fn a_job_that_is_done_never_changes() {
    let base = Database::start().await;
    let db = &base.db;
    let id = base.job(json!({ "finetune": null }), &["a"]).await;
    cancel::request(db, id).await.expect("asked");
    let mut conn = db.connection().await.expect("a connection");
    let failed = jobs::Ending { status: JobStatus::Failed, outcome: None, error: Some(&json!({})) };
    assert!(!jobs::finish(&mut conn, id, &failed).await.expect("asked"));
    assert!(!jobs::start(&mut conn, id).await.expect("asked"));
    assert!(!jobs::set_phase(&mut conn, id, Phase::Verify, 1, 1).await.expect("asked"));
    assert!(!events::append(&mut conn, id, "afterthought", &json!({})).await.expect("asked"));
    // Not even a statement that forgets to ask.
    let forced = sqlx_update(&mut conn, id).await;
    assert!(forced.contains("is done (cancelled) and does not change"), "{forced}");
    drop(conn);
    base.stop().await;
}

async fn sqlx_update(conn: &mut practised::db::Connection, id: JobId) -> String {
    let update = sqlx::query("update job set status = 'running', finished_at = null, started_at = now() where id = $1");
    update.bind(id.uuid()).execute(conn).await.expect_err("refused by the schema").to_string()
}
