//! The cluster's files: made once, as a whole or not at all.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::unistd::{Uid, User};

use super::binaries::Binaries;
use super::error::{PrivatePostgresError, at};
use super::owner::Owner;
use super::{NAME, last_lines};

/// How long the server of a `serve` that was killed may take to end.
const PREDECESSOR: Duration = Duration::from_secs(30);

/// Major version of the data; `None` if there is no cluster yet.
pub(super) fn version(cluster: &Path) -> Result<Option<String>, PrivatePostgresError> {
    let path = cluster.join("PG_VERSION");
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(&path)(error)),
    }
}

/// Creates the cluster if it is missing, under a temporary name next to it that is renamed when it is complete, so that a
/// killed
/// start leaves nothing half-made.
pub(super) async fn ensure(cluster: &Path, binaries: &Binaries, owner: &Owner) -> Result<(), PrivatePostgresError> {
    if version(cluster)?.is_none() {
        let new = cluster.with_extension("new");
        if new.exists() {
            fs::remove_dir_all(&new).map_err(at(&new))?;
        }
        fs::create_dir(&new).map_err(at(&new))?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o700)).map_err(at(&new))?;
        owner.give(&new)?;
        init(&new, binaries, owner).await?;
        fs::rename(&new, cluster).map_err(at(cluster))?;
    }
    write_access(cluster, owner)
}

async fn init(new: &Path, binaries: &Binaries, owner: &Owner) -> Result<(), PrivatePostgresError> {
    let mut initdb = tokio::process::Command::from(binaries.command("initdb", owner));
    initdb.arg("-D").arg(new).args(["-U", NAME, "--auth-local=peer", "--auth-host=reject", "--data-checksums"]);
    initdb.args(["--encoding=UTF8", "--locale=C", "--no-instructions"]);
    let output = initdb.kill_on_drop(true).output().await.map_err(at(&binaries.program("initdb")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = last_lines(&String::from_utf8_lossy(&output.stderr));
    Err(PrivatePostgresError::Failed { program: "initdb".into(), status: output.status.to_string(), said })
}

/// Allows connections over the socket for the cluster's owner and the user of this process, both as the one role. Written at
/// every start, because the user who starts may have changed.
fn write_access(cluster: &Path, owner: &Owner) -> Result<(), PrivatePostgresError> {
    let us = User::from_uid(Uid::effective()).ok().flatten().map_or_else(|| owner.name().to_owned(), |user| user.name);
    let mut map = format!("practised {} {NAME}\n", owner.name());
    if us != owner.name() {
        map += &format!("practised {us} {NAME}\n");
    }
    for (name, text) in [("pg_hba.conf", "local all all peer map=practised\n".to_owned()), ("pg_ident.conf", map)] {
        let path = cluster.join(name);
        fs::write(&path, text).map_err(at(&path))?;
        owner.give(&path)?;
    }
    Ok(())
}

/// A `serve` that was killed leaves a server that is just ending, or, after a power cut, a `postmaster.pid` whose process
/// id can belong to another process by now: PostgreSQL would refuse to start because of it.
pub(super) async fn await_predecessor(cluster: &Path) -> Result<(), PrivatePostgresError> {
    let path = cluster.join("postmaster.pid");
    let deadline = Instant::now() + PREDECESSOR;
    while let Some(pid) = recorded_pid(&path) {
        if !serves(pid, cluster) {
            fs::remove_file(&path).map_err(at(&path))?;
            return Ok(());
        }
        if Instant::now() >= deadline {
            let dir = cluster.parent().unwrap_or(cluster).to_owned();
            return Err(PrivatePostgresError::InUse { dir, pid: pid.to_string() });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

fn recorded_pid(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.lines().next()?.trim().parse().ok()
}

/// Socket folder of the server that runs on this cluster, if any: the fifth line of its `postmaster.pid`.
pub(super) fn socket_of_running(cluster: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(cluster.join("postmaster.pid")).ok()?;
    text.lines().nth(4).filter(|line| !line.is_empty()).map(|line| line.trim().into())
}

/// True if the process belongs to this cluster: a postmaster's working directory is its data directory.
fn serves(pid: u32, cluster: &Path) -> bool {
    let cwd: PathBuf = format!("/proc/{pid}/cwd").into();
    match (fs::read_link(&cwd), cluster.canonicalize()) {
        (Ok(cwd), Ok(cluster)) => cwd == cluster,
        // The owner's processes cannot be looked into by others; then it is safer to believe the file.
        (Err(error), _) => error.kind() == std::io::ErrorKind::PermissionDenied,
        _ => false,
    }
}
