//! A database of an earlier version, brought up to date with its rows in it.

use std::path::Path;

use practised::db::{Db, JobPriority, Order, Page, jobs, models};
use practised::ids::WorkerId;
use practised::private_postgres;
use practised::queue::claim::claim;

use crate::support::cluster;
use crate::support::database::LOCAL;

/// The first so many migrations in an empty database, as an earlier version had them.
async fn migrate_to(db: &Db, last: usize) {
    sqlx::raw_sql("drop schema public cascade; create schema public").execute(db.pool()).await.expect("emptied");
    let earlier = tempfile::tempdir().expect("a folder");
    let all = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations")).expect("listed").flatten();
    for entry in all {
        let name = entry.file_name().into_string().expect("text");
        if name[..4].parse::<usize>().is_ok_and(|number| number <= last) {
            std::fs::copy(entry.path(), earlier.path().join(&name)).expect("copied");
        }
    }
    let migrator = sqlx::migrate::Migrator::new(earlier.path()).await.expect("read");
    migrator.run(db.pool()).await.expect("the earlier migrations run");
}

/// A model, an image set, a queued job on them and an answer under an Idempotency-Key.
const ROWS: &str = "
    insert into blob (sha256, size) values (repeat('0', 64), 1);
    insert into model (id, sha256, size, analysis) values ('01a20000-0000-7000-8000-000000000001', repeat('0', 64), 1, '{}');
    insert into image_set (id, sha256, size) values ('01a20000-0000-7000-8000-000000000002', repeat('0', 64), 1);
    insert into job (id, model, uses_model, images, uses_images, config, deadline)
    values ('01a20000-0000-7000-8000-000000000003', '01a20000-0000-7000-8000-000000000001',
            '01a20000-0000-7000-8000-000000000001', '01a20000-0000-7000-8000-000000000002',
            '01a20000-0000-7000-8000-000000000002', '{\"finetune\": null}', now() + interval '1 hour');
    insert into task (id, job, kind)
    values ('01a20000-0000-7000-8000-000000000004', '01a20000-0000-7000-8000-000000000003', 'measure');
    insert into idempotency_key (route, key, request_sha256, status, body)
    values ('POST /v1/jobs', 'k', repeat('0', 64), 202, '{}');";

#[tokio::test]
async fn what_was_there_before_there_were_tenants_belongs_to_local_and_goes_on() {
    let dir = cluster::data_dir("").await;
    let postgres = private_postgres::start(dir.path()).await.expect("a private PostgreSQL starts");
    let db = Db::connect(&postgres.url(), 4).await.expect("it takes connections");
    migrate_to(&db, 12).await;
    sqlx::raw_sql(ROWS).execute(db.pool()).await.expect("rows of the earlier version");
    db.migrate().await.expect("the migrations run");

    let mut conn = db.connection().await.expect("a connection");
    let page = Page { after: None, limit: 10, order: Order::Ascending };
    assert_eq!(models::list(&mut conn, &LOCAL, page).await.expect("listed").len(), 1);
    let listed = jobs::list(&mut conn, &LOCAL, page, None, None).await.expect("listed");
    assert_eq!((listed.len(), listed[0].priority), (1, JobPriority::Normal));
    let answer = practised::db::keys::get(&mut conn, &LOCAL, "POST /v1/jobs", "k").await.expect("read");
    assert!(answer.is_some(), "a POST that is repeated after the upgrade is still answered as before");
    let worker = WorkerId::new();
    practised::db::workers::register(&mut conn, worker, "host", 1, "cpu", None, "0").await.expect("registered");
    drop(conn);
    assert_eq!(claim(&db, worker).await.expect("claims").expect("its task").job, listed[0].id);
    db.close().await;
    postgres.stop().await;
}

/// The same bytes, and a job's file, of two tenants in a database that kept them once for all.
const SHARED_BYTES: &str = "
    insert into tenant (name) values ('acme');
    insert into blob (sha256, size) values (repeat('0', 64), 3), (repeat('1', 64), 3), (repeat('2', 64), 3);
    insert into blob_chunk (sha256, position, bytes)
        select sha256, place, convert_to(substr('xyz', place + 1, 1), 'UTF8') from blob, generate_series(0, 2) as place;
    insert into model (id, sha256, size, analysis, tenant)
        values ('01a20000-0000-7000-8000-000000000001', repeat('0', 64), 3, '{}', 'local'),
               ('01a20000-0000-7000-8000-000000000002', repeat('0', 64), 3, '{}', 'acme');
    insert into image_set (id, sha256, labels_sha256, size, tenant)
        values ('01a20000-0000-7000-8000-000000000003', repeat('0', 64), repeat('1', 64), 3, 'acme');
    insert into image_set_image (image_set, position, name, width, height, label)
        values ('01a20000-0000-7000-8000-000000000003', 0, 'a', 1, 1, 3), ('01a20000-0000-7000-8000-000000000003', 1, 'b', 1, 1, null);
    insert into job (id, tenant, model, config, deadline, status, phase, started_at, finished_at, outcome)
        values ('01a20000-0000-7000-8000-000000000004', 'acme', '01a20000-0000-7000-8000-000000000002', '{}', now(), 'succeeded',
                'export', now(), now(), 'target_met');
    insert into task (id, job, kind, state, result, attempt, lease, started_at, finished_at)
        values ('01a20000-0000-7000-8000-000000000005', '01a20000-0000-7000-8000-000000000004', 'measure', 'done', '{}', 1, 1, now(), now());
    insert into event (job, seq, kind, detail)
        values ('01a20000-0000-7000-8000-000000000004', 1, 'task_started', '{\"task\": \"measure\"}');
    insert into artifact (job, name, media_type, sha256, size)
        values ('01a20000-0000-7000-8000-000000000004', 'student.onnx', 'text/x', repeat('0', 64), 3);";

#[tokio::test]
async fn bytes_that_were_kept_once_for_all_tenants_are_each_tenants_own() {
    let dir = cluster::data_dir("").await;
    let postgres = private_postgres::start(dir.path()).await.expect("a private PostgreSQL starts");
    let db = Db::connect(&postgres.url(), 4).await.expect("it takes connections");
    migrate_to(&db, 18).await;
    sqlx::raw_sql(SHARED_BYTES).execute(db.pool()).await.expect("rows of the earlier version");
    db.migrate().await.expect("the migrations run");
    let bytes: Vec<(String, String, Vec<u8>)> = sqlx::query_as(
        "select tenant, left(sha256, 1), string_agg(bytes, '' order by position) from blob join blob_chunk using (tenant, sha256)
         group by tenant, sha256 order by tenant, sha256",
    )
    .fetch_all(db.pool())
    .await
    .expect("read");
    let of = |tenant: &str, hash: &str| (tenant.to_owned(), hash.to_owned(), b"xyz".to_vec());
    // What no row named is gone.
    assert_eq!(bytes, [of("acme", "0"), of("acme", "1"), of("local", "0")]);
    let broken = practised::db::invariants::breaches(&db).await.expect("looked");
    let of_bytes = broken.iter().filter(|(invariant, _)| invariant.name.contains("blob")).count();
    assert_eq!(of_bytes, 0, "{broken:?}");

    let mut conn = db.connection().await.expect("a connection");
    let set = "01a20000-0000-7000-8000-000000000003".parse().expect("an id");
    let set = practised::db::image_sets::get(&mut conn, &"acme".parse().expect("a name"), set).await.expect("read");
    let set = set.expect("there");
    assert_eq!((set.images, set.labelled, set.refused), (2, 1, 0));
    drop(conn);
    let metrics = practised::db::metrics::read(&db).await.expect("read");
    for (name, label, value) in [
        ("practised_jobs", "succeeded", 1.0),
        ("practised_jobs", "queued", 0.0),
        ("practised_claims_total", "measure", 1.0),
        ("practised_tasks_done_total", "measure", 1.0),
    ] {
        let (_, samples) = metrics.iter().find(|(metric, _)| metric.name == name).expect("a family");
        let sample = samples.iter().find(|sample| sample.label.as_deref() == Some(label)).expect("a sample");
        assert_eq!(sample.value, value, "{name} {label}");
    }
    db.close().await;
    postgres.stop().await;
}
