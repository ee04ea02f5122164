//! The private PostgreSQL, and the places where it has to start.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use practised::db::Db;
use practised::private_postgres::{self, PrivatePostgresError};

use crate::support::reachable_folder;

async fn connects(url: &str) -> bool {
    match Db::connect(url, 1).await {
        Ok(db) => {
            db.migrate().await.expect("migrates");
            db.close().await;
            true
        }
        Err(_) => false,
    }
}

/// Process ids of servers that work below a folder.
fn servers_below(folder: &Path) -> Vec<String> {
    let folder = folder.canonicalize().expect("there");
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    let below =
        processes.filter(|entry| fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(&folder)));
    below.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

#[tokio::test]
async fn data_outlives_a_restart_and_nothing_else_does() {
    let dir = reachable_folder();
    for round in 0..2 {
        let postgres = private_postgres::start(dir.path()).await.expect("starts");
        assert!(connects(&postgres.url()).await, "round {round}");
        postgres.stop().await;
        assert_eq!(servers_below(dir.path()), Vec::<String>::new());
        assert!(!dir.path().join("run").exists(), "the socket is gone");
    }
}

#[tokio::test]
async fn a_second_service_on_the_same_data_is_refused() {
    let dir = reachable_folder();
    let first = private_postgres::start(dir.path()).await.expect("starts");
    let second = private_postgres::start(dir.path()).await.expect_err("in use");
    assert!(matches!(&second, PrivatePostgresError::InUse { .. }), "{second}");
    assert!(second.to_string().contains("--data-dir"), "{second}");
    first.stop().await;
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_is_no_obstacle() {
    let dir = reachable_folder();
    let long = dir.path().join("a folder with blanks".repeat(6)).join("data");
    let postgres = private_postgres::start(&long).await.expect("starts");
    assert!(postgres.url().contains("practised-"), "the socket is elsewhere: {}", postgres.url());
    assert!(connects(&postgres.url()).await);
    postgres.stop().await;
}

#[tokio::test]
async fn a_stale_pid_file_of_another_process_is_no_obstacle() {
    let dir = reachable_folder();
    private_postgres::start(dir.path()).await.expect("starts").stop().await;
    // As after a power cut, when the number belongs to somebody else by now: to us.
    let pid = dir.path().join("postgres/postmaster.pid");
    fs::write(&pid, format!("{}\n{}\n", std::process::id(), dir.path().join("postgres").display())).expect("written");
    let postgres = private_postgres::start(dir.path()).await.expect("starts all the same");
    assert!(connects(&postgres.url()).await);
    postgres.stop().await;
}

#[tokio::test]
async fn data_of_another_version_is_refused_by_name() {
    let dir = reachable_folder();
    private_postgres::start(dir.path()).await.expect("starts").stop().await;
    fs::write(dir.path().join("postgres/PG_VERSION"), "9\n").expect("written");
    let refused = private_postgres::start(dir.path()).await.expect_err("another version");
    assert!(refused.to_string().contains("written by PostgreSQL 9"), "{refused}");
    assert!(refused.to_string().contains("PG_BIN_DIR"), "{refused}");
}

#[tokio::test]
async fn a_half_made_cluster_is_made_anew() {
    let dir = reachable_folder();
    fs::create_dir(dir.path().join("postgres.new")).expect("made");
    fs::write(dir.path().join("postgres.new/PG_VERSION"), "half").expect("written");
    let postgres = private_postgres::start(dir.path()).await.expect("starts");
    assert!(connects(&postgres.url()).await);
    postgres.stop().await;
}

#[tokio::test]
async fn a_server_that_dies_is_started_again() {
    let dir = reachable_folder();
    let postgres = private_postgres::start(dir.path()).await.expect("starts");
    let pid_file = dir.path().join("postgres/postmaster.pid");
    let pid = || fs::read_to_string(&pid_file).ok()?.lines().next()?.parse::<i32>().ok();
    let first = pid().expect("it runs");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(first), nix::sys::signal::Signal::SIGKILL).expect("killed");
    let back = async {
        while !connects(&postgres.url()).await || pid() == Some(first) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), back).await.expect("it comes back");
    postgres.stop().await;
}

/// Only root drops to another user, who may be kept out of a folder.
#[tokio::test]
async fn a_folder_that_postgres_cannot_reach_is_named() {
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    let dir = reachable_folder();
    let closed = dir.path().join("home");
    fs::create_dir(&closed).expect("made");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).expect("closed");
    let refused = private_postgres::start(&closed.join("data")).await.expect_err("out of reach");
    assert!(
        matches!(&refused, PrivatePostgresError::Unreachable { folder, .. } if folder.ends_with("home")),
        "{refused}"
    );
    assert!(refused.to_string().contains("--data-dir"), "{refused}");
}
