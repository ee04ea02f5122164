//! Statements that no other story runs: every query has to be one that PostgreSQL takes.

use practised::db::artifacts::{self, ArtifactRow};
use practised::db::image_sets::{self, ImageRow, RefusalRow};
use practised::db::keys::{self, AnswerRow};
use practised::db::{JobStatus, Order, Page, admin, blobs, jobs, models, tasks, workers};
use practised::ids::{ImageSetId, ModelId};
use serde_json::json;

use crate::support::database::{Database, LOCAL};

fn page(after: Option<uuid::Uuid>, limit: i64, order: Order) -> Page {
    Page { after, limit, order }
}

#[tokio::test]
async fn lists_go_on_where_a_page_ended() {
    let base = Database::start().await;
    let mut ids: Vec<ModelId> = Vec::new();
    for name in ["one", "two", "three"] {
        ids.push(base.model(name.as_bytes()).await);
        base.image_set(name.as_bytes()).await;
    }
    let mut conn = base.db.connection().await.expect("a connection");
    for order in [Order::Ascending, Order::Descending] {
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let rows = models::list(&mut conn, &LOCAL, page(after, 2, order)).await.expect("listed");
            let Some(last) = rows.last() else { break };
            after = Some(last.id.uuid());
            seen.extend(rows.iter().map(|row| row.id));
        }
        let mut expected = ids.clone();
        if order == Order::Descending {
            expected.reverse();
        }
        assert_eq!(seen, expected);
        assert_eq!(image_sets::list(&mut conn, &LOCAL, page(None, 2, order)).await.expect("listed").len(), 2);
    }
    let known = models::by_sha256(&mut conn, &LOCAL, &practised::hash::sha256_hex(b"two")).await.expect("read");
    assert_eq!(known.expect("there").id, ids[1]);
    drop(conn);
    base.stop().await;
}

#[tokio::test]
async fn jobs_are_listed_by_status_and_model() {
    let base = Database::start().await;
    let first = base.job(json!({ "finetune": null }), &["a"]).await;
    let second = base.job(json!({ "finetune": null }), &["a"]).await;
    practised::queue::cancel::request(&base.db, first).await.expect("cancelled");
    let mut conn = base.db.connection().await.expect("a connection");
    let all = page(None, 10, Order::Ascending);
    let ids = |rows: Vec<jobs::JobRow>| rows.into_iter().map(|row| row.id).collect::<Vec<_>>();
    assert_eq!(ids(jobs::list(&mut conn, &LOCAL, all, None, None).await.expect("listed")), [first, second]);
    let queued = jobs::list(&mut conn, &LOCAL, all, Some(JobStatus::Queued), None).await.expect("listed");
    assert_eq!(ids(queued), [second]);
    let model = jobs::get(&mut conn, &LOCAL, first).await.expect("read").expect("there").model;
    assert_eq!(ids(jobs::list(&mut conn, &LOCAL, all, None, Some(model)).await.expect("listed")), [first]);
    drop(conn);
    base.stop().await;
}

#[tokio::test]
async fn an_image_set_keeps_its_images_in_order_with_what_was_refused() {
    let base = Database::start().await;
    let id: ImageSetId = base.image_set(b"a zip").await;
    let image = |name: &str, label| ImageRow { name: name.to_owned(), width: 8, height: 6, label };
    let images = [image("b.png", Some(3)), image("a.png", None)];
    let refused = [RefusalRow { name: "c.txt".to_owned(), reason: "not an image".to_owned() }];
    let mut conn = base.db.connection().await.expect("a connection");
    image_sets::insert_images(&mut conn, id, &images).await.expect("inserted");
    image_sets::insert_refusals(&mut conn, id, &refused).await.expect("inserted");
    assert_eq!(image_sets::images(&mut conn, id).await.expect("read"), images);
    assert_eq!(image_sets::refusals(&mut conn, id).await.expect("read"), refused);
    let row = image_sets::get(&mut conn, &LOCAL, id).await.expect("read").expect("there");
    assert_eq!((row.images, row.labelled, row.refused), (2, 1, 1));
    assert!(image_sets::delete(&mut conn, &LOCAL, id).await.expect("deleted"));
    assert!(!image_sets::delete(&mut conn, &LOCAL, id).await.expect("asked"));
    drop(conn);
    base.stop().await;
}

#[tokio::test]
async fn an_answer_is_kept_under_its_key_once() {
    let base = Database::start().await;
    let mut conn = base.db.connection().await.expect("a connection");
    let answer = AnswerRow {
        request_sha256: "0".repeat(64),
        status: 202,
        location: Some("/v1/jobs/1".to_owned()),
        body: r#"{"zebra":1,"ant":2}"#.to_owned(),
    };
    assert_eq!(keys::get(&mut conn, &LOCAL, "POST /v1/jobs", "k").await.expect("read"), None);
    assert!(keys::put(&mut conn, &LOCAL, "POST /v1/jobs", "k", &answer).await.expect("put"));
    let other = AnswerRow { body: "{}".to_owned(), ..answer.clone() };
    assert!(
        !keys::put(&mut conn, &LOCAL, "POST /v1/jobs", "k", &other).await.expect("asked"),
        "the first answer stays"
    );
    assert_eq!(keys::get(&mut conn, &LOCAL, "POST /v1/jobs", "k").await.expect("read"), Some(answer));
    assert_eq!(keys::delete_old(&mut conn).await.expect("asked"), 0);
    drop(conn);
    base.stop().await;
}

#[tokio::test]
async fn the_registry_shows_who_lives() {
    let base = Database::start().await;
    let id = base.worker().await;
    let mut conn = base.db.connection().await.expect("a connection");
    workers::seen(&mut conn, id).await.expect("seen");
    let live = workers::live(&mut conn).await.expect("listed");
    assert_eq!(live.iter().map(|worker| worker.id).collect::<Vec<_>>(), [id]);
    workers::stopped(&mut conn, id).await.expect("stopped");
    assert!(workers::live(&mut conn).await.expect("listed").is_empty());
    drop(conn);
    base.stop().await;
}

#[tokio::test]
async fn the_rest_of_the_statements_run() {
    let base = Database::start().await;
    let job = base.job(json!({ "finetune": null }), &["a"]).await;
    let mut tx = base.db.begin().await.expect("begins");
    admin::ping(&mut tx).await.expect("answers");
    assert!(admin::try_lock(&mut tx, "a name").await.expect("asked"));
    let mut other = base.db.begin().await.expect("begins");
    assert!(!admin::try_lock(&mut other, "a name").await.expect("asked"), "another holds it");
    let report = artifacts::report(&mut tx, job).await.expect("read");
    assert_eq!(report, None);
    let sha256 = practised::blobs::put_bytes(&mut tx, &LOCAL, b"file").await.expect("stored");
    let file = ArtifactRow { name: "a.txt".to_owned(), media_type: "text/plain".to_owned(), sha256, size: 4 };
    artifacts::insert(&mut tx, job, &file).await.expect("inserted");
    assert_eq!(artifacts::list(&mut tx, job).await.expect("listed"), [file]);
    assert!(!jobs::is_past_deadline(&mut tx, job).await.expect("read"));
    assert!(jobs::overdue(&mut tx, 3.0).await.expect("listed").is_empty());
    assert!(tasks::exhausted(&mut tx, 8).await.expect("listed").is_empty());
    assert_eq!(tasks::delete_blobs_of_done_jobs(&mut tx).await.expect("deleted"), 0);
    assert_eq!(blobs::delete_orphans(&mut tx).await.expect("deleted"), 0);
    drop((tx, other));
    base.stop().await;
}
