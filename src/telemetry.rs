//! Logging: one line per event on stderr, filtered by `PRACTISED_LOG` (or `RUST_LOG`), JSON with `PRACTISED_LOG_FORMAT=json`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging for this process. Later calls change nothing.
pub fn init() {
    let filter = std::env::var("PRACTISED_LOG").or_else(|_| std::env::var("RUST_LOG"));
    let filter = EnvFilter::new(filter.unwrap_or_else(|_| "info,sqlx=warn,ort=warn".to_owned()));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match std::env::var("PRACTISED_LOG_FORMAT").as_deref() {
        Ok("json") => lines.json().try_init(),
        _ => lines.with_target(false).try_init(),
    };
    // Only tests start it twice, and the first start is as good as the second.
    drop(started);
}
