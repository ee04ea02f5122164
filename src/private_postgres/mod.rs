//! A PostgreSQL of our own, for `serve` without a database URL.
//!
//! It lives in the data directory, listens on a unix socket alone, needs no password (the kernel reports the user of a
//! connection), and
//! ends with us however we end. One host, one `serve`; several hosts need a real server and `DATABASE_URL`.

mod binaries;
mod cluster;
mod error;
mod owner;
mod socket;

use std::fs::{self, File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::children::{self, Child};
use crate::db::admin;

use binaries::Binaries;
use error::at;
use owner::Owner;

pub use error::PrivatePostgresError;

/// Role and database that everything belongs to.
const NAME: &str = "practised";

/// Until when a server that starts must answer; recovery after a crash takes a part of it.
const START: Duration = Duration::from_secs(60);

/// What differs from PostgreSQL's own defaults.
const SETTINGS: [&str; 7] = [
    "listen_addresses=",
    "unix_socket_permissions=0700",
    "max_connections=100",
    "logging_collector=off",
    "log_checkpoints=off",
    "log_min_messages=warning",
    "timezone=UTC",
];

/// How long a clean stop may take before it is made less clean.
const STOP: Duration = Duration::from_secs(15);

/// A running server; ends with [`PrivatePostgres::stop`], or by SIGINT when this process dies.
#[derive(Debug)]
pub struct PrivatePostgres {
    socket: socket::SocketDir,
    stop: CancellationToken,
    keeping: JoinHandle<()>,
    /// Held as long as the server may write: one `serve` per data directory.
    _lock: Flock<File>,
}

/// Starts the server of a data directory, which is created if it is missing. A server that dies is restarted.
///
/// # Errors
/// As [`PrivatePostgresError`].
pub async fn start(data_dir: &Path) -> Result<PrivatePostgres, PrivatePostgresError> {
    fs::create_dir_all(data_dir).map_err(at(data_dir))?;
    let data_dir = &data_dir.canonicalize().map_err(at(data_dir))?;
    let lock = lock(data_dir)?;
    let owner = Owner::of_this_process()?;
    owner.require_reach(data_dir)?;
    let cluster = data_dir.join("postgres");
    let binaries = Binaries::find(cluster::version(&cluster)?.as_deref(), &cluster, &owner)?;
    let binaries = binaries.within_reach(&owner, data_dir)?;
    cluster::ensure(&cluster, &binaries, &owner).await?;
    let socket = socket::SocketDir::make(data_dir, &owner)?;
    let recipe =
        Recipe { binaries, owner, cluster, socket: socket.path().to_owned(), log: data_dir.join("postgres.log") };
    let server = recipe.start().await?;
    admin::ensure_database(socket.path(), NAME, NAME).await?;
    tracing::info!("private PostgreSQL in {}", recipe.cluster.display());
    let stop = CancellationToken::new();
    let keeping = tokio::spawn(recipe.keep(server, stop.clone()));
    Ok(PrivatePostgres { socket, stop, keeping, _lock: lock })
}

/// How to connect to the server that already runs on a data directory, if one does.
pub async fn running(data_dir: &Path) -> Option<String> {
    let socket = cluster::socket_of_running(&data_dir.join("postgres"))?;
    admin::answers(&socket, NAME).await.then(|| url(&socket))
}

fn url(socket: &Path) -> String {
    format!("postgres://{NAME}@localhost/{NAME}?host={}", percent(socket))
}

fn lock(data_dir: &Path) -> Result<Flock<File>, PrivatePostgresError> {
    let path = data_dir.join("serve.pid");
    let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path).map_err(at(&path))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => {
            lock.set_len(0).map_err(at(&path))?;
            fs::write(&path, std::process::id().to_string()).map_err(at(&path))?;
            Ok(lock)
        }
        Err(_) => {
            let pid = fs::read_to_string(&path).unwrap_or_default();
            Err(PrivatePostgresError::InUse { dir: data_dir.to_owned(), pid })
        }
    }
}

/// How the server is started.
#[derive(Debug)]
struct Recipe {
    binaries: Binaries,
    owner: Owner,
    cluster: PathBuf,
    socket: PathBuf,
    log: PathBuf,
}

impl Recipe {
    /// Starts the server and waits until it answers.
    async fn start(&self) -> Result<Child, PrivatePostgresError> {
        cluster::await_predecessor(&self.cluster).await?;
        let program = self.binaries.program("postgres");
        let mut server = children::spawn(self.command()?, Signal::SIGINT).await.map_err(at(&program))?;
        let deadline = Instant::now() + START;
        while Instant::now() < deadline {
            if let Some(status) = server.exited() {
                let said = last_lines(&fs::read_to_string(&self.log).unwrap_or_default());
                return Err(PrivatePostgresError::Failed {
                    program: "postgres".into(),
                    status: status.to_string(),
                    said,
                });
            }
            if admin::answers(&self.socket, NAME).await {
                return Ok(server);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        server.kill_group();
        server.wait().await;
        Err(PrivatePostgresError::Silent { log: self.log.clone() })
    }

    fn command(&self) -> Result<Command, PrivatePostgresError> {
        let file = OpenOptions::new().create(true).append(true).open(&self.log).map_err(at(&self.log))?;
        let mut command = self.binaries.command("postgres", &self.owner);
        command.arg("-D").arg(&self.cluster).arg("-k").arg(&self.socket);
        for setting in SETTINGS {
            command.arg("-c").arg(setting);
        }
        command.stdin(Stdio::null()).stdout(file.try_clone().map_err(at(&self.log))?).stderr(file);
        Ok(command)
    }

    /// Starts the server again whenever it dies; ends it at `stop`.
    async fn keep(self, mut server: Child, stop: CancellationToken) {
        loop {
            tokio::select! {
                status = server.wait() => tracing::error!("the private PostgreSQL died ({status:?}); starting it again"),
                () = stop.cancelled() => return end(server).await,
            }
            server = loop {
                match self.start().await {
                    Ok(server) => break server,
                    Err(error) => tracing::error!("{error}"),
                }
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_secs(2)) => {}
                    () = stop.cancelled() => return,
                }
            };
        }
    }
}

/// All data is on disk already; a clean stop only saves the next start from recovering.
async fn end(mut server: Child) {
    for (signal, patience) in [(Signal::SIGINT, STOP), (Signal::SIGQUIT, Duration::from_secs(5))] {
        server.signal(signal);
        if tokio::time::timeout(patience, server.wait()).await.is_ok() {
            return;
        }
    }
    server.kill_group();
    server.wait().await;
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join(" / ")
}

impl PrivatePostgres {
    /// What to connect to; children of this process may use it too.
    pub fn url(&self) -> String {
        url(self.socket.path())
    }

    /// Stops the server and removes its socket.
    pub async fn stop(self) {
        self.stop.cancel();
        // It only fails if the task panicked, and then the server ends with this process.
        let _ = self.keeping.await;
        self.socket.remove();
    }
}

/// A path as the value of a URL's parameter.
fn percent(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/-_.".contains(byte);
    let bytes = path.as_os_str().as_bytes().iter();
    bytes.map(|byte| if plain(byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Applied to every command that runs as the cluster's owner.
fn as_owner(command: &mut Command, owner: &Owner) {
    if let Some((uid, gid)) = owner.ids_to_take() {
        command.uid(uid).gid(gid);
    }
    // Our own folder may be out of the owner's reach.
    command.current_dir("/");
    command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C").env("TZ", "UTC");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_blanks_survives_the_url() {
        assert_eq!(percent(Path::new("/tmp/a b/ü")), "/tmp/a%20b/%C3%BC");
    }
}
