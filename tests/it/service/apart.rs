//! What a tenant can learn about the others: nothing by how an upload of theirs is stored, and nothing about how much they have.

use std::collections::BTreeMap;

use practised::db::{Db, workers};
use practised::ids::WorkerId;
use practised::queue::{claim, rescue};
use serde_json::{Value, json};

use crate::support::networks::TinyResNet;
use crate::support::service::TestApp;
use crate::support::uploads;

/// Counts every row that is written to the tables of uploads.
const COUNT_ROWS: &str = "
    create table written (what text);
    create function count_row() returns trigger language plpgsql as
        $$ begin insert into written values (tg_op || ' ' || tg_table_name); return null; end $$;
    create trigger row_is_counted after insert or update or delete on blob for each row execute function count_row();
    create trigger row_is_counted after insert or update or delete on blob_chunk for each row execute function count_row();
    create trigger row_is_counted after insert or update or delete on model for each row execute function count_row();
    create trigger row_is_counted after insert or update or delete on image_set for each row execute function count_row();
    create trigger row_is_counted after insert or update or delete on image_set_image for each row execute function count_row();";

/// The rows that were written since the last look.
async fn written(db: &Db) -> BTreeMap<String, i64> {
    let rows: Vec<String> =
        sqlx::query_scalar("delete from written returning what").fetch_all(db.pool()).await.expect("read");
    let mut counts = BTreeMap::new();
    for what in rows {
        *counts.entry(what).or_default() += 1;
    }
    counts
}

async fn key_of(app: &TestApp, tenant: &str) -> String {
    let made = app.post_json("/v1/api-keys", &json!({ "tenant": tenant, "scopes": ["read", "write"] })).await;
    made.json()["key"].as_str().expect("the key").to_owned()
}

/// Not by time, which is noisy, but by the work: the same rows are written whether or not another tenant has the bytes.
#[tokio::test]
async fn bytes_that_another_tenant_has_are_stored_like_new_ones() {
    let (mut app, admin) = TestApp::with_keys().await;
    app.show(Some(&admin));
    let (acme, rival) = (key_of(&app, "acme").await, key_of(&app, "rival").await);
    let db = app.database().await;
    sqlx::raw_sql(COUNT_ROWS).execute(db.pool()).await.expect("counted from now on");
    // Over a megabyte, so that there are several chunks.
    let (network, zip) = (TinyResNet { width: 64, ..TinyResNet::default() }.bytes(), uploads::image_zip(12, 300));
    assert!(network.len() > 1 << 20, "{}", network.len());
    let uploads =
        [("/v1/models", "application/octet-stream", network.clone()), ("/v1/image-sets", "application/zip", zip)];
    for (path, media_type, bytes) in uploads {
        let mut seen = Vec::new();
        for key in [&acme, &rival, &rival] {
            app.show(Some(key));
            let answer = app.post_bytes(path, media_type, bytes.clone()).await;
            assert!([200, 201].contains(&answer.status), "{answer:?}");
            seen.push(written(&db).await);
        }
        assert!(seen[0]["INSERT blob_chunk"] >= 1 && seen[0]["INSERT blob"] == 1, "{path}: {:?}", seen[0]);
        assert_eq!(seen[0], seen[1], "{path}: bytes of another tenant are like new ones");
        assert!(
            !seen[2].contains_key("INSERT blob_chunk"),
            "{path}: within a tenant they are kept once: {:?}",
            seen[2]
        );
    }

    // What one tenant deletes, another keeps.
    let ids = async |app: &mut TestApp, key: &str| {
        app.show(Some(key));
        app.get("/v1/models").await.json()["data"][0]["id"].as_str().expect("an id").to_owned()
    };
    let (of_acme, of_rival) = (ids(&mut app, &acme).await, ids(&mut app, &rival).await);
    assert_eq!(app.delete(&format!("/v1/models/{of_rival}")).await.status, 204);
    rescue::tidy(&db).await.expect("tidied");
    app.show(Some(&acme));
    assert_eq!(app.get(&format!("/v1/models/{of_acme}/content")).await.bytes, network);
    app.examine().await;
}

#[tokio::test]
async fn a_tenant_does_not_learn_how_much_others_have() {
    let (mut app, admin) = TestApp::with_keys().await;
    app.show(Some(&admin));
    let (acme, rival) = (key_of(&app, "acme").await, key_of(&app, "rival").await);
    app.show(Some(&acme));
    let job = app.quick_job().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(app.submit(&job).await);
    }
    assert_eq!(app.job(&ids[2]).await["queue_position"], 2, "its own jobs count");
    app.show(Some(&rival));
    let late = app.submit(&app.quick_job().await).await;
    assert_eq!(app.job(&late).await["queue_position"], 0, "those of others do not");

    app.get("/metrics").await.problem(403, "scope_missing");
    app.show(None);
    app.get("/metrics").await.problem(401, "key_missing");
    app.show(Some(&admin));
    let metrics = String::from_utf8(app.get("/metrics").await.bytes).expect("text");
    assert!(metrics.contains("practised_jobs{status=\"queued\"} 4\n"), "{metrics}");
}

#[tokio::test]
async fn hosts_are_named_to_admins_and_the_pool_is_shown_by_class_to_others() {
    let (mut app, admin) = TestApp::with_keys().await;
    app.show(Some(&admin));
    let (acme, rival) = (key_of(&app, "acme").await, key_of(&app, "rival").await);
    let db = app.database().await;
    for (device, name) in [("cpu", None), ("cuda:0", Some("H100")), ("cuda:1", Some("H100"))] {
        let mut conn = db.connection().await.expect("a connection");
        workers::register(&mut conn, WorkerId::new(), "host-17", 1, device, name, "0").await.expect("registered");
    }
    app.show(Some(&acme));
    app.submit(&app.quick_job().await).await;
    let first: WorkerId = sqlx::query_scalar::<_, uuid::Uuid>("select id from worker where device = 'cpu'")
        .fetch_one(db.pool())
        .await
        .expect("there")
        .into();
    claim::claim(&db, first).await.expect("claims").expect("a task");

    for (key, yours) in [(&acme, 1), (&rival, 0)] {
        app.show(Some(key));
        let listed = app.get("/v1/devices").await;
        let classes = json!([
            { "object": "device_class", "device": "cpu", "workers": 1, "unhealthy": 0, "yours": yours },
            { "object": "device_class", "device": "cuda", "name": "H100", "workers": 2, "unhealthy": 0, "yours": 0 },
        ]);
        assert_eq!(listed.json()["data"], classes);
        assert!(!String::from_utf8_lossy(&listed.bytes).contains("host-17"), "{listed:?}");
    }
    app.show(Some(&admin));
    let devices = app.get("/v1/devices").await.json();
    assert_eq!((devices["data"].as_array().map(Vec::len), &devices["data"][0]["host"]), (Some(3), &json!("host-17")));

    app.show(None);
    let ready = app.get("/readyz").await;
    let text = String::from_utf8_lossy(&ready.bytes).into_owned();
    assert_eq!((ready.status, &ready.json()["status"]), (200, &json!("ready")));
    assert!(!text.contains("host-17") && !text.contains("cuda"), "{text}");
}

/// Whoever reaches a service without keys may do everything, so there is nothing to hide.
#[tokio::test]
async fn without_keys_everything_is_named() {
    let app = TestApp::without_workers().await;
    let db = app.database().await;
    let mut conn = db.connection().await.expect("a connection");
    workers::register(&mut conn, WorkerId::new(), "host-17", 1, "cpu", None, "0").await.expect("registered");
    assert_eq!(app.get("/readyz").await.json()["workers"][0]["host"], "host-17");
    let device: Value = app.get("/v1/devices").await.json()["data"][0].clone();
    assert_eq!(
        (&device["object"], &device["host"], &device["state"]),
        (&json!("device"), &json!("host-17"), &json!("idle"))
    );
    assert_eq!(app.get("/metrics").await.status, 200);
}
