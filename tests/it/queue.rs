//! The queue, with the faults it must bear.

use std::collections::BTreeSet;
use std::time::Duration;

use practised::compress::observer::Phase;
use practised::db::{Db, JobOutcome, JobStatus, TaskKind, artifacts, events, jobs, models, tasks};
use practised::ids::{JobId, WorkerId};
use practised::jobs::cancel::{self, Cancelling};
use practised::jobs::claim::{Claim, claim};
use practised::jobs::complete::{Completion, Done, File, Finished, complete};
use practised::jobs::fail::{Verdict, fail};
use practised::jobs::lease::{self, Standing};
use practised::jobs::{JobsError, rescue, store};
use practised::problem::{Code, Problem};
use serde_json::{Value, json};

use crate::support::database::Database;

/// What a task of this kind might bring.
fn brings(kind: TaskKind) -> Done {
    let last = (kind == TaskKind::Export).then(|| Finished {
        outcome: JobOutcome::TargetMet,
        report: r#"{"zebra": 1, "ant": 2.50}"#.to_owned(),
        artifacts: vec![File { name: "student.onnx".into(), media_type: "text/x".into(), bytes: b"student".to_vec() }],
    });
    let blobs = if kind == TaskKind::Finetune { vec![("student", vec![7; 3 << 20])] } else { Vec::new() };
    Done { result: json!({ "of": kind }), blobs, last }
}

async fn take(db: &Db, worker: WorkerId) -> Claim {
    claim(db, worker).await.expect("claims").expect("there is something to claim")
}

async fn nothing_to_take(db: &Db, worker: WorkerId) -> bool {
    claim(db, worker).await.expect("claims").is_none()
}

async fn job(db: &Db, id: JobId) -> jobs::JobRow {
    let mut conn = db.connection().await.expect("a connection");
    jobs::get(&mut conn, id).await.expect("read").expect("there")
}

/// Kinds of a job's events, checked to be numbered without a gap up to the job's last one.
async fn event_kinds(db: &Db, id: JobId) -> Vec<String> {
    let mut conn = db.connection().await.expect("a connection");
    let events = events::list(&mut conn, id, 0, 1000).await.expect("listed");
    let last = jobs::get(&mut conn, id).await.expect("read").expect("there").last_event;
    let seqs: Vec<i64> = events.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=last).collect::<Vec<_>>());
    events.into_iter().map(|event| event.kind).collect()
}

/// Ends a worker's lease as time would.
async fn let_leases_run_out(db: &Db, worker: WorkerId) {
    rescue::worker_died(db, worker).await.expect("expired");
}

fn our_fault() -> Problem {
    Problem::new(Code::Internal, "the moon is in the wrong house")
}

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
    assert_eq!(store::read(db, &student.sha256).await.expect("stored"), b"student");
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
    let mut conn = base.db.connection().await.expect("a connection");
    assert_eq!(jobs::queue_position(&mut conn, older).await.expect("counted"), Some(0));
    assert_eq!(jobs::queue_position(&mut conn, newer).await.expect("counted"), Some(1));
    let order = [take(&base.db, worker).await, take(&base.db, worker).await, take(&base.db, worker).await];
    assert_eq!(order.map(|claim| claim.job), [older, older, newer]);
    assert_eq!(jobs::queue_position(&mut conn, older).await.expect("counted"), None);
    drop(conn);
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
    assert_eq!((heir.task, heir.attempt), (zombie.task, 2));
    assert!(heir.lease > zombie.lease);

    let before = (format!("{:?}", job(db, id).await), event_kinds(db, id).await);
    assert_eq!(lease::renew(db, &zombie).await.expect("asked"), Standing::Lost);
    assert_eq!(lease::look(db, &zombie).await.expect("asked"), Standing::Lost);
    assert!(!lease::tell_progress(db, &zombie, Phase::Verify, 1, 1).await.expect("asked"));
    assert!(!lease::tell_event(db, &zombie, "boo", &json!({})).await.expect("asked"));
    assert!(!lease::release(db, &zombie).await.expect("asked"));
    assert!(matches!(complete(db, &zombie, &brings(zombie.kind)).await, Err(JobsError::LeaseLost)));
    assert!(matches!(fail(db, &zombie, &our_fault(), false).await, Err(JobsError::LeaseLost)));
    assert!(matches!(cancel::acknowledge(db, &zombie).await, Err(JobsError::LeaseLost)));
    assert_eq!((format!("{:?}", job(db, id).await), event_kinds(db, id).await), before);

    assert_eq!(lease::renew(db, &heir).await.expect("asked"), Standing::Held);
    assert!(lease::tell_progress(db, &heir, Phase::Measure, 3, 9).await.expect("asked"));
    assert!(lease::tell_event(db, &heir, "measured", &json!({"n": 3})).await.expect("asked"));
    assert_eq!(job(db, id).await.progress_done, 3);
    complete(db, &heir, &brings(heir.kind)).await.expect("stored");
    assert!(event_kinds(db, id).await.contains(&"task_rescued".to_owned()));
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
    assert_eq!(lease::renew(db, &measure).await.expect("asked"), Standing::Lost, "the other task ends with its job");
    assert!(nothing_to_take(db, worker).await);
    assert_eq!(event_kinds(db, id).await.last().map(String::as_str), Some("failed"));
    base.stop().await;
}

#[tokio::test]
async fn a_task_that_kills_its_worker_three_times_fails_its_job_and_no_other() {
    let base = Database::start().await;
    let (db, worker) = (&base.db, base.worker().await);
    let poison = base.job(json!({ "finetune": null }), &["a"]).await;
    let neighbour = base.job(json!({ "finetune": null }), &["a"]).await;
    for attempt in 1..=3 {
        let claimed = take(db, worker).await;
        assert_eq!((claimed.job, claimed.kind, claimed.attempt), (poison, TaskKind::Measure, attempt));
        let_leases_run_out(db, worker).await;
    }
    assert_eq!(rescue::sweep(db).await.expect("swept"), 1);
    assert_eq!(rescue::sweep(db).await.expect("swept"), 0);
    let error = job(db, poison).await.error.expect("an error");
    assert_eq!(error["code"], "task_crashed");
    assert!(error["detail"].as_str().expect("text").contains("3 times while it ran measure"), "{error}");
    assert_eq!(take(db, worker).await.job, neighbour);
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
    assert!(matches!(missing, Err(JobsError::NoSuchJob(_))), "{missing:?}");
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
    assert_eq!(lease::look(db, &measure).await.expect("asked"), Standing::CancelRequested);
    assert_eq!(lease::renew(db, &score).await.expect("asked"), Standing::CancelRequested);
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
    tokio::time::sleep(practised::jobs::CANCEL_PATIENCE + Duration::from_millis(100)).await;
    assert_eq!(rescue::sweep(db).await.expect("swept"), 1);
    assert_eq!(job(db, id).await.status, JobStatus::Cancelled);
    assert!(matches!(complete(db, &deaf, &brings(deaf.kind)).await, Err(JobsError::LeaseLost)));
    base.stop().await;
}

#[tokio::test]
async fn cancel_and_complete_at_the_same_moment_leave_one_end() {
    let base = Database::start().await;
    let (db, worker) = (&base.db, base.worker().await);
    for round in 0..40 {
        let id = base.job(json!({ "finetune": null }), &[]).await;
        loop {
            let claimed = take(db, worker).await;
            if claimed.kind != TaskKind::Export {
                complete(db, &claimed, &brings(claimed.kind)).await.expect("stored");
                continue;
            }
            let done = brings(claimed.kind);
            let completing = async {
                tokio::time::sleep(Duration::from_micros(150 * (round % 8))).await;
                complete(db, &claimed, &done).await
            };
            let (completed, cancelled) = tokio::join!(completing, cancel::request(db, id));
            let ended = job(db, id).await;
            let cancelled = cancelled.expect("asked");
            match completed.expect("it held the lease") {
                Completion::Stored => {
                    assert_eq!(ended.status, JobStatus::Succeeded);
                    assert_eq!(cancelled, Cancelling::Done(JobStatus::Succeeded));
                }
                Completion::Cancelled => {
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
    base.stop().await;
}

#[tokio::test]
async fn a_job_past_its_deadline_expires() {
    let base = Database::start().await;
    let (db, worker) = (&base.db, base.worker().await);
    let id = base.job_with_deadline(json!({ "finetune": null }), &["a"], 0.3).await;
    let claimed = take(db, worker).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(nothing_to_take(db, worker).await, "nobody begins with what is too late");
    assert_eq!(rescue::sweep(db).await.expect("swept"), 1);
    let ended = job(db, id).await;
    assert_eq!(ended.status, JobStatus::Expired);
    assert_eq!(ended.error.expect("an error")["code"], "deadline_exceeded");
    assert_eq!(lease::look(db, &claimed).await.expect("asked"), Standing::Lost);
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

#[tokio::test]
async fn a_model_cannot_go_while_a_job_uses_it_and_leaves_nothing_when_it_goes() {
    let base = Database::start().await;
    let db = &base.db;
    let id = base.job(json!({ "finetune": null }), &["a"]).await;
    let model = job(db, id).await.model;
    let mut conn = db.connection().await.expect("a connection");
    let sha256 = models::get(&mut conn, model).await.expect("read").expect("there").sha256;
    let refused = models::delete(&mut conn, model).await.expect_err("in use");
    assert!(refused.is_constraint("live_job_has_its_inputs"), "{refused}");
    cancel::request(db, id).await.expect("asked");
    assert!(models::delete(&mut conn, model).await.expect("deleted"));
    assert_eq!(job(db, id).await.model, model, "the job still says what it was about");
    rescue::tidy(db).await.expect("tidied");
    let gone = store::read(db, &sha256).await.expect_err("no bytes without an owner");
    assert!(gone.to_string().contains("not there"), "{gone}");
    let images = job(db, id).await.images.expect("a set");
    let row = practised::db::image_sets::get(&mut conn, images).await.expect("read").expect("kept");
    store::read(db, &row.sha256).await.expect("what has an owner stays");
    drop(conn);
    base.stop().await;
}

#[tokio::test]
async fn a_waiting_worker_is_woken_by_a_submission_and_by_a_cancellation() {
    let base = Database::start().await;
    let stop = tokio_util::sync::CancellationToken::new();
    let wake_ups = practised::jobs::listen::listen(base.db.clone(), stop.clone());
    let mut cancelled = wake_ups.cancelled.subscribe();
    // The first wake-up says that it listens.
    tokio::time::timeout(Duration::from_secs(5), wake_ups.tasks.notified()).await.expect("listening");
    let id = base.job(json!({ "finetune": null }), &["a"]).await;
    tokio::time::timeout(Duration::from_secs(1), wake_ups.tasks.notified()).await.expect("woken by the submission");
    cancel::request(&base.db, id).await.expect("asked");
    let told = tokio::time::timeout(Duration::from_secs(1), cancelled.recv()).await.expect("woken by the cancellation");
    assert_eq!(told.expect("told"), id);
    stop.cancel();
    base.stop().await;
}

#[tokio::test]
async fn bytes_come_back_as_they_went_and_are_kept_once() {
    let base = Database::start().await;
    let db = &base.db;
    let bytes: Vec<u8> = (0..(5 << 20) / 2 + 3).map(|index: u32| (index % 251) as u8).collect();
    let path = base.dir.path().join("bytes");
    std::fs::write(&path, &bytes).expect("written");
    let mut tx = db.begin().await.expect("begins");
    let sha256 = store::put_bytes(&mut tx, &bytes).await.expect("stored");
    store::put_file(&mut tx, &path, &sha256, bytes.len() as u64).await.expect("there already");
    practised::db::commit(tx).await.expect("committed");
    assert_eq!(store::read(db, &sha256).await.expect("read"), bytes);
    let mut conn = db.connection().await.expect("a connection");
    assert_eq!(practised::db::blobs::size(&mut conn, &sha256).await.expect("read"), Some(bytes.len() as i64));
    assert_eq!(
        practised::db::blobs::chunk(&mut conn, &sha256, 2).await.expect("read").expect("there").len(),
        bytes.len() - (2 << 20)
    );
    drop(conn);
    base.stop().await;
}

/// Tasks keep what they found out, for the next ones and for people.
#[tokio::test]
async fn results_and_bytes_wait_for_the_tasks_that_follow() {
    let base = Database::start().await;
    let (db, worker) = (&base.db, base.worker().await);
    let id = base.job(json!({ "finetune": {} }), &["a"]).await;
    loop {
        let claimed = take(db, worker).await;
        if claimed.kind == TaskKind::Export {
            break;
        }
        complete(db, &claimed, &brings(claimed.kind)).await.expect("stored");
    }
    let mut conn = db.connection().await.expect("a connection");
    let rows = tasks::of_job(&mut conn, id).await.expect("listed");
    let results: Vec<Option<Value>> = rows.iter().map(|task| task.result.clone()).collect();
    let found = |kind: &str| Some(json!({ "of": kind }));
    assert_eq!(results, [found("measure"), found("score"), found("select"), found("finetune"), None]);
    assert!(rows[0].seconds.is_some_and(|seconds| seconds > 0.0), "{rows:?}");
    let student = tasks::blob(&mut conn, id, TaskKind::Finetune, "student").await.expect("read").expect("there");
    assert_eq!(store::read(db, &student).await.expect("stored").len(), 3 << 20);
    drop(conn);
    base.stop().await;
}
