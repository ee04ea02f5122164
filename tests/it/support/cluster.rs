//! Data directories with a PostgreSQL cluster already made and its database migrated: that takes seconds, copying it does not.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use practised::db::Db;
use practised::private_postgres;
use tempfile::TempDir;

use super::reachable_folder;

/// A folder that `serve` or a test can take as its data directory; `below` it where a name is given.
pub async fn data_dir(below: &str) -> TempDir {
    let template = template().await;
    let dir = reachable_folder();
    let data = dir.path().join(below);
    fs::create_dir_all(&data).expect("made");
    copy(&template, &data.join("postgres"));
    dir
}

/// The cluster that is copied, made once per run of the tests, whichever process comes first.
async fn template() -> PathBuf {
    let run = std::env::var("NEXTEST_RUN_ID").unwrap_or_else(|_| std::process::id().to_string());
    let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clusters");
    fs::create_dir_all(&all).expect("made");
    let lock = File::create(all.join("lock")).expect("a lock");
    let _locked = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await.expect("runs").expect("locked");
    let template = all.join(run);
    if !template.exists() {
        remove_old(&all);
        let dir = reachable_folder();
        let postgres = private_postgres::start(dir.path()).await.expect("a private PostgreSQL starts");
        let db = Db::connect(&postgres.url(), 1).await.expect("it takes connections");
        db.migrate().await.expect("the migrations run");
        db.close().await;
        postgres.stop().await;
        let half = template.with_extension("half");
        copy(&dir.path().join("postgres"), &half);
        fs::rename(&half, &template).expect("renamed");
    }
    template
}

/// With owners and modes, as PostgreSQL insists on both.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp runs");
    assert!(copied.success(), "{} cannot be copied", from.display());
}

/// Clusters of earlier runs; not of one that may still be going on.
fn remove_old(all: &Path) {
    for entry in fs::read_dir(all).expect("listed").flatten() {
        let age = entry.metadata().and_then(|meta| meta.modified()).ok().and_then(|made| made.elapsed().ok());
        if entry.path().is_dir() && age.is_some_and(|age| age > Duration::from_secs(3600)) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
