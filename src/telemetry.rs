//! Logging: one line per event on stderr, JSON with `PRACTISED_LOG_FORMAT=json`.
//!
//! Filtered by what stands in the file that `PRACTISED_LOG_FILTER_FILE` names, which SIGHUP has a service or worker read again; else by
//! `PRACTISED_LOG` or `RUST_LOG`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// Default filter.
const USUAL: &str = "info,sqlx=warn,ort=warn";

/// Names the file with the filter.
const FILE: &str = "PRACTISED_LOG_FILTER_FILE";

/// The log of this process, whose filter can be exchanged.
pub struct Log {
    file: Option<PathBuf>,
    exchange: Box<dyn Fn(EnvFilter) -> Result<(), String> + Send>,
}

/// Starts logging for this process. Later calls change nothing.
pub fn init() -> Log {
    let file = std::env::var_os(FILE).map(PathBuf::from);
    let (filter, complaint) = match file.as_deref().map(read) {
        Some(Ok(filter)) => (filter, None),
        Some(Err(complaint)) => (from_environment(), Some(complaint)),
        None => (from_environment(), None),
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // Only tests start it twice, and the first start is as good as the second.
    let exchange: Box<dyn Fn(EnvFilter) -> Result<(), String> + Send> =
        if std::env::var("PRACTISED_LOG_FORMAT").as_deref() == Ok("json") {
            let lines = lines.json().with_filter_reloading();
            let handle = lines.reload_handle();
            drop(lines.finish().try_init());
            Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string()))
        } else {
            let lines = lines.with_target(false).with_filter_reloading();
            let handle = lines.reload_handle();
            drop(lines.finish().try_init());
            Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string()))
        };
    if let Some(complaint) = complaint {
        tracing::warn!("{complaint}");
    }
    Log { file, exchange }
}

impl Log {
    /// For SIGHUP: reads the file with the filter again. A filter that cannot be read changes nothing.
    pub fn reload(&self) {
        let Some(file) = &self.file else {
            tracing::info!(
                "SIGHUP: nothing to reload, because {FILE} is not set. Keys and limits are read from the database"
            );
            return;
        };
        match read(file).and_then(|filter| (self.exchange)(filter)) {
            Ok(()) => tracing::info!("SIGHUP: the log filter was read from {}", file.display()),
            Err(error) => tracing::warn!("SIGHUP: the log filter is unchanged: {error}"),
        }
    }
}

fn read(file: &Path) -> Result<EnvFilter, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    EnvFilter::try_new(text.trim()).map_err(|error| format!("{}: {error}", file.display()))
}

fn from_environment() -> EnvFilter {
    let filter = std::env::var("PRACTISED_LOG").or_else(|_| std::env::var("RUST_LOG"));
    EnvFilter::new(filter.unwrap_or_else(|_| USUAL.to_owned()))
}
