//! `practised serve`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::connections::ConnectionArgs;
use super::usage;
use crate::db::{Db, DbError, tenants};
use crate::http::{self, Access, App, listener};
use crate::private_postgres::{self, PrivatePostgres};
use crate::queue::{POLL, rescue};
use crate::service::decoding::Decoders;
use crate::service::spools::OwnSpool;
use crate::service::{Context, Limits, api_keys};
use crate::shutdown;
use crate::telemetry::{self, Log};
use crate::worker::slots::Workers;
use crate::worker::supervisor::Supervisor;

/// Interval of deleting what is no longer needed.
const TIDY: Duration = Duration::from_secs(10 * 60);

/// Connections of this process to the database.
const CONNECTIONS: u32 = 16;

/// Arguments of `practised serve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address to listen on; port 0 selects a free port and prints it.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Folder for the private PostgreSQL and for uploads in progress [default: /var/lib/practised for root, else
    /// ~/.local/share/practised].
    #[arg(long, env = "PRACTISED_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// PostgreSQL to use instead of a private one.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<String>,
    /// Worker processes to run: auto (one for each GPU, or one for the CPU), 0, cpu:2, cuda:0,cuda:1.
    #[arg(long, default_value = "auto")]
    workers: Workers,
    /// Size limit of a model, in MiB.
    #[arg(long, default_value_t = 2048, value_name = "MIB")]
    max_model_mib: u64,
    /// Limit on the running tasks of one tenant, over all workers, or none for no limit. Stored in the database: if omitted, the
    /// previous value stays in effect. A tenant can have its own limit (PUT /v1/tenants/NAME).
    #[arg(long, value_name = "N")]
    max_running_per_tenant: Option<Cap>,
    /// Limit on the queued jobs of one tenant, or none for no limit; stored in the same way.
    #[arg(long, value_name = "N")]
    max_queued_per_tenant: Option<Cap>,
    /// Accept requests without a key on an address that other hosts can reach.
    #[arg(long)]
    insecure_no_auth: bool,
    /// Require a key on a loopback address too, for example behind a proxy.
    #[arg(long, conflicts_with = "insecure_no_auth")]
    require_keys: bool,
    #[command(flatten)]
    connections: ConnectionArgs,
}

/// A cap as it is given.
#[derive(Debug, Clone, Copy)]
struct Cap(Option<i32>);

impl FromStr for Cap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse::<i32>()) {
            ("none", _) => Ok(Self(None)),
            (_, Ok(cap)) if cap > 0 => Ok(Self(Some(cap))),
            _ => Err("a limit is a whole number above 0, or none".to_owned()),
        }
    }
}

/// Runs `practised serve`.
pub fn run(args: Args) -> ExitCode {
    let log = telemetry::init();
    super::block_on(serve(args, log))
}

async fn serve(args: Args, log: Log) -> anyhow::Result<ExitCode> {
    let stop = shutdown::on_signal(move || log.reload())?;
    let data_dir = args.data_dir.clone().map_or_else(default_data_dir, Ok)?;
    let postgres = match &args.database_url {
        Some(_) => None,
        None => match private_postgres::start(&data_dir).await {
            Ok(postgres) => Some(postgres),
            Err(error) => return Ok(usage(&error.to_string())),
        },
    };
    let url = args.database_url.clone().or_else(|| postgres.as_ref().map(PrivatePostgres::url)).unwrap_or_default();
    let result = with_database(&args, &url, &data_dir, stop).await;
    if let Some(postgres) = postgres {
        postgres.stop().await;
    }
    result
}

async fn with_database(args: &Args, url: &str, data_dir: &Path, stop: CancellationToken) -> anyhow::Result<ExitCode> {
    let db = Db::connect(url, CONNECTIONS).await.context("the database cannot be used")?;
    db.migrate().await?;
    if args.access() == Access::Keys && !api_keys::any(&db).await? {
        return Ok(usage(&args.no_key(data_dir)));
    }
    args.set_caps(&db).await?;
    let listener = match TcpListener::bind(args.listen).await {
        Ok(listener) => listener,
        Err(error) => return Ok(usage(&format!("cannot listen on {}: {error}; give another --listen", args.listen))),
    };
    let slots = args.workers.slots(std::thread::available_parallelism().map_or(1, usize::from));
    let (has_workers, access) = (!slots.is_empty(), args.access());
    let context = context(args, db.clone(), data_dir)?;
    let hosts = args.connections.hosts(args.listen.ip());
    let connections = args.connections.limits(listener::raise_open_files());
    let app = App { context, has_workers, access, hosts, connections, stop: stop.clone() };
    println!("practised listens on http://{}", listener.local_addr()?);
    let supervising = tokio::spawn(supervisor(url, db.clone())?.run(slots, stop.clone()));
    let keeping = tokio::spawn(keep_house(db.clone()));
    http::serve(listener, app).await;
    // The workers were asked to stop at the same moment.
    supervising.await?;
    keeping.abort();
    db.close().await;
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn access(&self) -> Access {
        let open = self.listen.ip().is_loopback() || self.insecure_no_auth;
        if open && !self.require_keys { Access::Open } else { Access::Keys }
    }

    async fn set_caps(&self, db: &Db) -> Result<(), DbError> {
        let mut conn = db.connection().await?;
        if let Some(Cap(cap)) = self.max_running_per_tenant {
            tenants::set_usual_running(&mut conn, cap).await?;
        }
        if let Some(Cap(cap)) = self.max_queued_per_tenant {
            tenants::set_usual_queued(&mut conn, cap).await?;
        }
        Ok(())
    }

    /// How to continue if a key is required and there is none.
    fn no_key(&self, data_dir: &Path) -> String {
        let place = match self.database_url {
            Some(_) => "the same DATABASE_URL".to_owned(),
            None => format!("--data-dir {}", data_dir.display()),
        };
        let make = format!("Create one with `practised keys create --admin` (and {place}), then start again");
        if self.require_keys {
            return format!("--require-keys is given, and there are no API keys yet. {make}.");
        }
        format!(
            "{} is reachable from other hosts, but there are no API keys yet. {make}. Or listen on 127.0.0.1, which needs no \
             key. Or give --insecure-no-auth if a proxy or firewall controls access.",
            self.listen
        )
    }
}

fn context(args: &Args, db: Db, data_dir: &Path) -> anyhow::Result<Context> {
    let root = data_dir.join("spool");
    let spool = OwnSpool::take(&root).with_context(|| format!("{} cannot be used for uploads", root.display()))?;
    let limits = Limits { model_bytes: args.max_model_mib << 20, ..Limits::default() };
    Ok(Context { db, spool: Arc::new(spool), limits, decoders: Arc::new(Decoders::default()) })
}

fn supervisor(url: &str, db: Db) -> anyhow::Result<Supervisor> {
    Ok(Supervisor { program: std::env::current_exe()?, database_url: url.to_owned(), db })
}

/// Ends what no worker ends, even without live workers, and deletes what is no longer needed.
async fn keep_house(db: Db) {
    let mut until_tidy = Duration::ZERO;
    loop {
        if let Err(error) = rescue::sweep(&db).await {
            tracing::debug!("cannot sweep: {error}");
        }
        if until_tidy.is_zero() {
            if let Err(error) = rescue::tidy(&db).await {
                tracing::debug!("cannot tidy: {error}");
            }
            until_tidy = TIDY;
        }
        tokio::time::sleep(POLL).await;
        until_tidy = until_tidy.saturating_sub(POLL);
    }
}

/// Default data directory of `serve`.
pub(super) fn default_data_dir() -> anyhow::Result<PathBuf> {
    if nix::unistd::Uid::effective().is_root() {
        // Not below /root: PostgreSQL runs as another user, which cannot access it.
        return Ok("/var/lib/practised".into());
    }
    let base = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/share"));
    let base = base.or_else(home).context("neither XDG_DATA_HOME nor HOME is set; give --data-dir")?;
    Ok(base.join("practised"))
}
