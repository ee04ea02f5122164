//! A database of an earlier version, brought up to date with its rows in it.

use std::path::Path;

use practised::db::{Db, JobPriority, Order, Page, jobs, models};
use practised::ids::WorkerId;
use practised::jobs::claim::claim;
use practised::jobs::private_postgres;

use crate::support::cluster;
use crate::support::database::LOCAL;

/// The first so many migrations, as an earlier version had them.
async fn migrate_to(db: &Db, last: usize) {
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
