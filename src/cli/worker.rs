//! `practised worker`.

use std::process::ExitCode;
use std::time::Duration;

use crate::exec::Device;
use crate::ids::WorkerId;
use crate::latency::Probe;
use crate::worker::door::{CANNOT_COMPUTE, DoorError};
use crate::worker::{self, WorkerConfig};
use crate::{shutdown, telemetry};

/// Arguments of `practised worker`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Database of the queue, the same as the service's.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: String,
    /// Device to compute on: cpu or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// CPU threads for computing; by default all cores.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// Seconds between two checkpoints of fine-tuning; a later attempt resumes from the last one.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0, value_parser = seconds)]
    checkpoint_every: f64,
    /// Set by the supervisor: the id under which it watches this process.
    #[arg(long, hide = true)]
    id: Option<WorkerId>,
    /// Set by the supervisor: the same for a process and the ones that replace it.
    #[arg(long, hide = true)]
    slot: Option<WorkerId>,
}

/// Runs `practised worker`. Exit code 3 if its device or ONNX Runtime cannot be used.
pub fn run(args: Args) -> ExitCode {
    let log = telemetry::init();
    super::block_on(async move {
        let config = WorkerConfig {
            id: args.id.unwrap_or_else(WorkerId::new),
            slot: args.slot,
            database_url: args.database_url,
            device: args.device,
            threads: args.threads.map_or_else(crate::exec::usual_threads, usize::from),
            probe: Probe::current(args.device)?,
            keep_every: Duration::from_secs_f64(args.checkpoint_every),
        };
        match worker::run(config, shutdown::on_signal(move || log.reload())?).await {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(error) if error.is::<DoorError>() => {
                eprintln!("practised: this worker cannot compute and takes no tasks: {error}");
                Ok(ExitCode::from(CANNOT_COMPUTE))
            }
            Err(error) => Err(error),
        }
    })
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds: &f64| (0.0..=86_400.0).contains(seconds));
    seconds.ok_or_else(|| "write seconds from 0 to 86400".to_owned())
}
