//! What is kept between tasks and what goes, and who is told.

use std::time::Duration;

use practised::blobs;
use practised::db::jobs::NewJob;
use practised::db::{TaskKind, models, tasks};
use practised::queue::complete::complete;
use practised::queue::{cancel, rescue};
use serde_json::{Value, json};

use super::{brings, event_kinds, job, take};
use crate::support::database::{Database, LOCAL, new_job};

#[tokio::test]
async fn a_model_cannot_go_while_a_job_uses_it_and_leaves_nothing_when_it_goes() {
    let base = Database::start().await;
    let db = &base.db;
    let id = base.job(json!({ "finetune": null }), &["a"]).await;
    let model = job(db, id).await.model;
    let mut conn = db.connection().await.expect("a connection");
    let sha256 = models::get(&mut conn, &LOCAL, model).await.expect("read").expect("there").sha256;
    let refused = models::delete(&mut conn, &LOCAL, model).await.expect_err("in use");
    assert!(refused.is_constraint("live_job_has_its_inputs"), "{refused}");
    cancel::request(db, id).await.expect("asked");
    assert!(models::delete(&mut conn, &LOCAL, model).await.expect("deleted"));
    assert_eq!(job(db, id).await.model, model, "the job still says what it was about");
    rescue::tidy(db).await.expect("tidied");
    let gone = blobs::read(db, &LOCAL, &sha256).await.expect_err("no bytes without an owner");
    assert!(gone.to_string().contains("is missing"), "{gone}");
    let images = job(db, id).await.images.expect("a set");
    let row = practised::db::image_sets::get(&mut conn, &LOCAL, images).await.expect("read").expect("kept");
    blobs::read(db, &LOCAL, &row.sha256).await.expect("what has an owner stays");
    drop(conn);
    base.stop().await;
}

#[tokio::test]
async fn a_waiting_worker_is_woken_by_a_submission_and_by_a_cancellation() {
    let base = Database::start().await;
    let stop = tokio_util::sync::CancellationToken::new();
    let wake_ups = practised::queue::listen::listen(base.db.clone(), stop.clone());
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
    let sha256 = blobs::put_bytes(&mut tx, &LOCAL, &bytes).await.expect("stored");
    blobs::put_file(&mut tx, &LOCAL, &path, &sha256, bytes.len() as u64).await.expect("there already");
    tx.commit().await.expect("committed");
    assert_eq!(blobs::read(db, &LOCAL, &sha256).await.expect("read"), bytes);
    let mut conn = db.connection().await.expect("a connection");
    assert_eq!(practised::db::blobs::size(&mut conn, &LOCAL, &sha256).await.expect("read"), Some(bytes.len() as i64));
    assert_eq!(
        practised::db::blobs::chunk(&mut conn, &LOCAL, &sha256, 2).await.expect("read").expect("there").len(),
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
    let done = [TaskKind::Measure, TaskKind::Score, TaskKind::Select, TaskKind::Finetune];
    let found = done.map(|kind| Some(brings(kind).result));
    assert_eq!(results, [&found[..], &[None]].concat());
    assert!(rows[0].seconds.is_some_and(|seconds| seconds > 0.0), "{rows:?}");
    let student = tasks::blob(&mut conn, id, TaskKind::Finetune, "student").await.expect("read").expect("there");
    assert_eq!(blobs::read(db, &LOCAL, &student).await.expect("stored").len(), 3 << 20);
    drop(conn);
    base.stop().await;
}

/// The tasks of a job that are done before any worker came.
async fn reused(base: &Database, id: practised::ids::JobId) -> Vec<String> {
    let mut conn = base.db.connection().await.expect("a connection");
    let tasks = practised::db::tasks::of_job(&mut conn, id).await.expect("read");
    tasks.into_iter().filter(|task| task.reused).filter_map(|task| task.block).collect()
}

#[tokio::test]
async fn scores_are_kept_for_the_next_job_on_the_same_model_and_images() {
    let base = Database::start().await;
    let (db, worker) = (&base.db, base.worker().await);
    let (model, images) = (base.model(b"a model").await, base.image_set(b"images").await);
    let wishes = |seed: u64| json!({ "finetune": null, "seed": seed });
    let first = base.job_on(model, Some(images), wishes(1), &["a", "b"]).await;
    assert!(reused(&base, first).await.is_empty());
    // One score, and then its job is cancelled: it was computed all the same.
    let measure = take(db, worker).await;
    let score = take(db, worker).await;
    complete(db, &score, &brings(score.kind)).await.expect("stored");
    practised::queue::cancel::request(db, first).await.expect("asked");
    practised::queue::cancel::acknowledge(db, &measure).await.expect("cancelled");

    let second = base.job_on(model, Some(images), wishes(1), &["a", "b"]).await;
    let scored = score.block.expect("a block");
    assert_eq!(reused(&base, second).await, std::slice::from_ref(&scored));
    let kinds = event_kinds(db, second).await;
    assert_eq!(kinds, ["queued", "scores_reused"]);
    let mut claimed = Vec::new();
    while let Some(claim) = practised::queue::claim::claim(db, worker).await.expect("claims") {
        claimed.extend(claim.block.clone());
        complete(db, &claim, &brings(claim.kind)).await.expect("stored");
    }
    assert_eq!(claimed.len(), 1, "only what was missing");
    assert_ne!(claimed[0], scored);
    assert_eq!(job(db, second).await.status, practised::db::JobStatus::Succeeded);

    // All of it is there now; not for other images, another seed, another model.
    let third = base.job_on(model, Some(images), wishes(1), &["a", "b", "c"]).await;
    assert_eq!(reused(&base, third).await.len(), 2);
    let same_archive = base.image_set(b"images").await;
    let again = base.job_on(model, Some(same_archive), wishes(1), &["a"]).await;
    assert_eq!(reused(&base, again).await.len(), 1);
    let (others, other) = (base.image_set(b"other images").await, base.model(b"another model").await);
    for id in [
        base.job_on(model, Some(others), wishes(1), &["a"]).await,
        base.job_on(model, None, wishes(1), &["a"]).await,
        base.job_on(model, Some(images), wishes(2), &["a"]).await,
        base.job_on(other, Some(images), wishes(1), &["a"]).await,
    ] {
        assert!(reused(&base, id).await.is_empty());
    }
    assert!(super::doctor::broken(db).await.is_empty());
    base.stop().await;
}

#[tokio::test]
async fn scores_are_not_reused_by_another_tenant_with_the_same_bytes() {
    let base = Database::start().await;
    let (db, worker, wishes) = (&base.db, base.worker().await, json!({ "finetune": null }));
    let (model, images) = (base.model(b"a model").await, base.image_set(b"images").await);
    base.job_on(model, Some(images), wishes.clone(), &["a"]).await;
    while let Some(claim) = practised::queue::claim::claim(db, worker).await.expect("claims") {
        complete(db, &claim, &brings(claim.kind)).await.expect("stored");
    }
    let acme = base.tenant("acme").await;
    let (id, notes) = (practised::ids::JobId::new(), json!({}));
    let model_of_acme = base.model_of(&acme, b"a model").await;
    let images_of_acme = Some(base.image_set_of(&acme, b"images").await);
    let job = new_job(id, model_of_acme, &wishes, &notes);
    base.submit(NewJob { tenant: &acme, images: images_of_acme, ..job }, &["a"]).await;
    assert!(reused(&base, id).await.is_empty());
    let own = base.job_on(model, Some(images), wishes.clone(), &["a"]).await;
    assert_eq!(reused(&base, own).await, ["a"]);
    base.stop().await;
}
