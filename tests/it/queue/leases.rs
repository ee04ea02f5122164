//! Tasks: claimed, kept, finished, failed, lost.

use std::collections::BTreeSet;
use std::time::Duration;

use practised::blobs;
use practised::db::jobs::NewJob;
use practised::db::{JobOutcome, JobStatus, TaskKind, artifacts, claims, tasks};
use practised::problem::{Code, Problem};
use practised::queue::claim::{RULES, begin, claim};
use practised::queue::claimed::Claim;
use practised::queue::complete::{Completion, complete};
use practised::queue::fail::{Verdict, fail};
use practised::queue::lease::{self, LeaseState};
use practised::queue::{QueueError, cancel};
use practised::spec::phase::Phase;
use serde_json::json;

use super::{brings, event_kinds, job, let_leases_run_out, nothing_to_take, our_fault, position, take};
use crate::support::database::{Database, LOCAL, new_job};

#[tokio::test]
async fn a_job_passes_through_its_tasks_to_the_report() {
    let base = Database::start().await;
    let (db, worker) = (&base.db, base.worker().await);
    let id = base.job(json!({ "finetune": {} }), &["a", "b"]).await;
    assert_eq!(job(db, id).await.status, JobStatus::Queued);

    let mut kinds = Vec::new();
    let mut positions = Vec::new();
    while !job(db, id).await.status.is_done() {
        let claim = take(db, worker).await;
        let now = job(db, id).await;
        assert_eq!(now.status, JobStatus::Running);
        positions.push((now.phase, now.progress_done, now.progress_total));
        kinds.push(claim.kind);
        assert_eq!(complete(db, &claim, &brings(claim.kind)).await.expect("stored"), Completion::Stored);
    }

    use TaskKind::{Export, Finetune, Measure, Score, Select};
    assert_eq!(kinds, [Measure, Score, Score, Select, Finetune, Export]);
    assert_eq!(positions[..3], [(Phase::Measure, 0, 1), (Phase::Score, 0, 2), (Phase::Score, 1, 2)]);
    let ended = job(db, id).await;
    assert_eq!((ended.status, ended.outcome), (JobStatus::Succeeded, Some(JobOutcome::TargetMet)));
    let kinds = event_kinds(db, id).await;
    assert_eq!(kinds[..3], ["queued", "started", "task_started"]);
    assert_eq!(kinds.last().map(String::as_str), Some("succeeded"));
    assert!(nothing_to_take(db, worker).await);

    let mut conn = db.connection().await.expect("a connection");
    let report = artifacts::report(&mut conn, id).await.expect("read").expect("there");
    assert_eq!(report, r#"{"zebra": 1, "ant": 2.50}"#, "the report keeps its order and its digits");
    let student = artifacts::get(&mut conn, id, "student.onnx").await.expect("read").expect("there");
    assert_eq!(blobs::read(db, &LOCAL, &student.sha256).await.expect("stored"), b"student");
    drop(conn);
    base.stop().await;
}

#[tokio::test]
async fn a_worker_that_has_done_a_task_is_told_from_one_that_only_began() {
    let base = Database::start().await;
    let (db, does, begins) = (&base.db, base.worker().await, base.worker().await);
    base.job(json!({ "finetune": {} }), &["a"]).await;
    let claim = take(db, does).await;
    complete(db, &claim, &brings(claim.kind)).await.expect("stored");
    take(db, begins).await;
    let mut conn = db.connection().await.expect("a connection");
    assert!(tasks::any_done_by(&mut conn, does).await.expect("read"));
    assert!(!tasks::any_done_by(&mut conn, begins).await.expect("read"));
    drop(conn);
    base.stop().await;
}

#[tokio::test]
async fn a_job_without_fine_tuning_skips_it() {
    let base = Database::start().await;
    let worker = base.worker().await;
    let id = base.job(json!({ "finetune": null }), &["a"]).await;
    let mut kinds = Vec::new();
    while !job(&base.db, id).await.status.is_done() {
        let claim = take(&base.db, worker).await;
        kinds.push(claim.kind);
        complete(&base.db, &claim, &brings(claim.kind)).await.expect("stored");
    }
    assert_eq!(kinds, [TaskKind::Measure, TaskKind::Score, TaskKind::Select, TaskKind::Export]);
    base.stop().await;
}

#[tokio::test]
async fn many_workers_at_once_never_get_the_same_task() {
    let base = Database::start().await;
    let blocks: Vec<String> = (0..11).map(|index| format!("block{index}")).collect();
    let blocks: Vec<&str> = blocks.iter().map(String::as_str).collect();
    base.job(json!({ "finetune": null }), &blocks).await;
    let claims = (0..20).map(|_| async {
        let worker = base.worker().await;
        claim(&base.db, worker).await.expect("claims")
    });
    let claims: Vec<Claim> = futures::future::join_all(claims).await.into_iter().flatten().collect();
    let different: BTreeSet<_> = claims.iter().map(|claim| claim.task).collect();
    assert_eq!((claims.len(), different.len()), (12, 12), "each of the 12 tasks once");
    base.stop().await;
}

#[tokio::test]
async fn the_oldest_job_goes_first() {
    let base = Database::start().await;
    let worker = base.worker().await;
    let older = base.job(json!({ "finetune": null }), &["a"]).await;
    let newer = base.job(json!({ "finetune": null }), &["a"]).await;
    assert_eq!((position(&base, older).await, position(&base, newer).await), (Some(0), Some(1)));
    let order = [take(&base.db, worker).await, take(&base.db, worker).await, take(&base.db, worker).await];
    assert_eq!(order.map(|claim| claim.job), [older, newer, older]);
    assert_eq!(position(&base, older).await, None);
    base.stop().await;
}

#[tokio::test]
async fn a_worker_that_comes_back_from_the_dead_changes_nothing() {
    let base = Database::start().await;
    let (db, first, second) = (&base.db, base.worker().await, base.worker().await);
    let id = base.job(json!({ "finetune": null }), &["a"]).await;
    let zombie = take(db, first).await;
    let_leases_run_out(db, first).await;
    let heir = take(db, second).await;
    assert_eq!((heir.task, heir.attempt, heir.crashes), (zombie.task, 1, 1));
    assert!(heir.lease > zombie.lease);

    let before = (format!("{:?}", job(db, id).await), event_kinds(db, id).await);
    assert_eq!(lease::renew(db, &zombie).await.expect("asked"), LeaseState::Lost);
    assert_eq!(lease::look(db, &zombie).await.expect("asked"), LeaseState::Lost);
    assert!(!lease::tell_progress(db, &zombie, Phase::Verify, 1, 1).await.expect("asked"));
    assert!(!lease::tell_event(db, &zombie, "boo", &json!({})).await.expect("asked"));
    assert!(!lease::release(db, &zombie).await.expect("asked"));
    assert!(matches!(complete(db, &zombie, &brings(zombie.kind)).await, Err(QueueError::LeaseLost)));
    assert!(matches!(fail(db, &zombie, &our_fault(), false).await, Err(QueueError::LeaseLost)));
    assert!(matches!(cancel::acknowledge(db, &zombie).await, Err(QueueError::LeaseLost)));
    assert_eq!((format!("{:?}", job(db, id).await), event_kinds(db, id).await), before);

    assert_eq!(lease::renew(db, &heir).await.expect("asked"), LeaseState::Held);
    assert!(lease::tell_progress(db, &heir, Phase::Measure, 3, 9).await.expect("asked"));
    assert!(lease::tell_event(db, &heir, "measured", &json!({"n": 3})).await.expect("asked"));
    assert_eq!(job(db, id).await.progress_done, 3);
    complete(db, &heir, &brings(heir.kind)).await.expect("stored");
    assert!(event_kinds(db, id).await.contains(&"task_rescued".to_owned()));
    base.stop().await;
}

#[tokio::test]
async fn a_worker_that_was_away_in_the_middle_of_its_claim_begins_nothing() {
    let base = Database::start().await;
    let (db, first, second) = (&base.db, base.worker().await, base.worker().await);
    let id = base.job(json!({ "finetune": null }), &["a"]).await;
    let mut conn = db.connection().await.expect("a connection");
    let zombie = claims::claim(&mut conn, first, RULES).await.expect("claims").expect("a task").claim;
    let_leases_run_out(db, first).await;
    let heir = take(db, second).await;
    assert_eq!(heir.task, zombie.task);

    let before = event_kinds(db, id).await;
    assert!(!begin(db, &zombie, false).await.expect("asked"));
    assert_eq!(event_kinds(db, id).await, before);
    drop(conn);
    base.stop().await;
}

#[tokio::test]
async fn a_fault_of_ours_is_tried_three_times() {
    let base = Database::start().await;
    let (db, worker) = (&base.db, base.worker().await);
    let id = base.job(json!({ "finetune": null }), &[]).await;
    for attempt in 1..=3 {
        let mut claimed = claim(db, worker).await.expect("claims");
        if attempt > 1 {
            assert!(claimed.is_none(), "attempt {attempt} waits a while first");
        }
        while claimed.is_none() {
            tokio::time::sleep(Duration::from_millis(100)).await;
            claimed = claim(db, worker).await.expect("claims");
        }
        let claimed = claimed.expect("claimed");
        assert_eq!(claimed.attempt, attempt);
        let verdict = fail(db, &claimed, &our_fault(), true).await.expect("told");
        assert_eq!(verdict, if attempt < 3 { Verdict::Retried } else { Verdict::JobFailed });
    }
    let ended = job(db, id).await;
    assert_eq!(ended.status, JobStatus::Failed);
    let error = ended.error.expect("an error");
    assert_eq!(error["code"], "task_failed");
    assert_eq!(error["instance"], format!("/v1/jobs/{id}"));
    assert!(error["detail"].as_str().expect("text").contains("wrong house"), "{error}");
    base.stop().await;
}

#[tokio::test]
async fn a_fault_of_the_input_ends_the_job_at_once() {
    let base = Database::start().await;
    let (db, worker, other) = (&base.db, base.worker().await, base.worker().await);
    let id = base.job(json!({ "finetune": null }), &["a"]).await;
    let (measure, score) = (take(db, worker).await, take(db, other).await);
    let problem = Problem::new(Code::NotFinite, "the features are not finite");
    assert_eq!(fail(db, &score, &problem, false).await.expect("told"), Verdict::JobFailed);
    assert_eq!(job(db, id).await.error.expect("an error")["code"], "not_finite");
    assert_eq!(lease::renew(db, &measure).await.expect("asked"), LeaseState::Lost, "the other task ends with its job");
    assert!(nothing_to_take(db, worker).await);
    assert_eq!(event_kinds(db, id).await.last().map(String::as_str), Some("failed"));
    base.stop().await;
}

#[tokio::test]
async fn a_task_that_is_given_back_costs_no_attempt() {
    let base = Database::start().await;
    let (db, worker) = (&base.db, base.worker().await);
    base.job(json!({ "finetune": null }), &["a"]).await;
    for _ in 0..5 {
        let claimed = take(db, worker).await;
        assert_eq!((claimed.kind, claimed.attempt), (TaskKind::Measure, 1));
        assert!(lease::release(db, &claimed).await.expect("released"));
    }
    base.stop().await;
}

#[tokio::test]
async fn a_job_is_claimed_by_a_worker_whose_device_it_asks_for_and_holds_up_nobody_else() {
    let base = Database::start().await;
    let db = &base.db;
    let (cpu, other) = (base.worker().await, base.worker_on("cuda:1", Some("NVIDIA A100-SXM4")).await);
    let gpu = base.worker_on("cuda:0", Some("NVIDIA H100 80GB HBM3")).await;
    for (device, takers) in [
        (Some("cuda"), vec![other, gpu]),
        (Some("cuda:0"), vec![gpu]),
        (Some("h100"), vec![gpu]),
        (Some("cpu"), vec![cpu]),
        (Some("TPU"), vec![]),
        (None, vec![cpu, other, gpu]),
    ] {
        for worker in [cpu, other, gpu] {
            let model = base.model(format!("{device:?} {worker}").as_bytes()).await;
            let (id, config, metadata) = (practised::ids::JobId::new(), json!({ "finetune": null }), json!({}));
            let job = NewJob { deadline_seconds: 60.0, device, ..new_job(id, model, &config, &metadata) };
            base.submit(job, &[]).await;
            let claimed = claim(db, worker).await.expect("claims").map(|claim| claim.job);
            assert_eq!(claimed == Some(id), takers.contains(&worker), "{device:?}");
            cancel::request(db, id).await.expect("asked");
            sqlx::query("update task set lease_until = now() - interval '1 second' where state = 'running'")
                .execute(db.pool())
                .await
                .expect("time passes");
            cancel::request(db, id).await.expect("asked again");
        }
    }
    base.stop().await;
}
