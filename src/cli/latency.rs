//! `practised latency`: one network, or two interleaved, measured as a job measures them.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use indicatif::ProgressBar;

use crate::exec::Device;
use crate::latency::{
    HostLock, LatencyError, Model, Probe, Samples, Source, measure, model_inputs, run_child as serve_one_request,
};
use crate::spec::latency::{Basis, Engine, LatencyConfig, Plan};

/// Arguments of `practised latency`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The network, or the teacher if two are given
    #[arg(value_name = "A.onnx")]
    first: PathBuf,
    /// A network to compare it with, such as its student
    #[arg(value_name = "B.onnx")]
    second: Option<PathBuf>,
    /// Engine that runs the networks
    #[arg(long, value_enum, default_value = "onnxruntime")]
    engine: EngineName,
    /// Device for torch: cpu or cuda:N; ONNX Runtime always uses the CPU
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// Images in one run
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch: u32,
    /// Threads within one run
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: u32,
    /// Height and width of the input, if they are dynamic
    #[arg(long, value_name = "HxW", value_parser = parse_size)]
    size: Option<(usize, usize)>,
    /// Maximum number of runs of each network
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(3..=100_000))]
    runs: u32,
    /// Maximum seconds of measuring (each round takes at least three runs)
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// Number of measuring processes, one after the other; fewer give a wider interval
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(3..=24))]
    rounds: u32,
    /// Seed of the input values and of the intervals
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum EngineName {
    /// ONNX Runtime: what customers deploy
    #[value(name = "onnxruntime")]
    OnnxRuntime,
    /// The service's own executor on libtorch
    #[value(name = "torch")]
    Torch,
}

/// Arguments of the hidden `practised latency-child`.
#[derive(Debug, clap::Args)]
pub struct ChildArgs {}

/// Runs `practised latency`.
pub fn run(args: Args) -> ExitCode {
    match measured(&args) {
        Ok(samples) => {
            let text = if args.json { json(&args, &samples) } else { table(&args, &samples) };
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("practised latency: {error}");
            if error.is_input() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

/// Runs `practised latency-child`.
pub fn run_child(_args: ChildArgs) -> ExitCode {
    serve_one_request()
}

fn measured(args: &Args) -> Result<Samples, LatencyError> {
    let paths = [Some(&args.first), args.second.as_ref()];
    let models = paths.into_iter().flatten().zip(["A", "B"]).map(|(path, label)| model(path, label, args));
    let models = models.collect::<Result<Vec<_>, _>>()?;
    let engine = match args.engine {
        EngineName::OnnxRuntime => Engine::OnnxRuntime,
        EngineName::Torch => Engine::Torch,
    };
    let config = LatencyConfig {
        engine,
        batch: args.batch as usize,
        threads: args.threads as usize,
        rounds: args.rounds as usize,
    };
    let plan = Plan { pairs: args.runs as usize, max_seconds: args.seconds.max(0.0), seed: args.seed, ..config.plan() };
    let probe = Probe::current(args.device)?;
    alone(|| {
        let spinner = ProgressBar::new_spinner().with_message("measuring");
        spinner.enable_steady_tick(Duration::from_millis(200));
        let measured = measure(&probe, &models, &config, &plan, &|| false);
        spinner.finish_and_clear();
        measured.map_err(|error| with_path(error, args))
    })
}

fn alone<T>(measure: impl Fn() -> Result<T, LatencyError>) -> Result<T, LatencyError> {
    let said = Cell::new(false);
    let waits = || {
        if !said.replace(true) {
            eprintln!("waiting until no other process computes on this host");
        }
        false
    };
    HostLock::of_host().alone(&waits, measure)
}

/// Labels are ours; a message names the file.
fn with_path(error: LatencyError, args: &Args) -> LatencyError {
    match error {
        LatencyError::Model { label, engine, detail } => {
            let path = labelled(args).find(|(known, _)| *known == label).map(|(_, path)| path.display().to_string());
            LatencyError::Model { label: path.unwrap_or(label), engine, detail }
        }
        other => other,
    }
}

fn model<'a>(path: &'a Path, label: &'a str, args: &Args) -> Result<Model<'a>, LatencyError> {
    let fault = |detail: String| LatencyError::Request(format!("{}: {detail}", path.display()));
    let bytes = fs::read(path).map_err(|e| fault(format!("cannot be read: {e}")))?;
    let graph = crate::onnx::decode(&bytes).map_err(|e| fault(e.to_string()))?.graph;
    let inputs = model_inputs(&graph, args.batch as usize, args.size).map_err(fault)?;
    Ok(Model { label, source: Source::Path(path), inputs })
}

fn table(args: &Args, samples: &Samples) -> String {
    let mut lines = vec![format!("{:<40} {:>10} {:>10} {:>10} {:>12}", "", "median ms", "p90", "p99", "CPU median")];
    for (label, path) in labelled(args) {
        let (Some(wall), Some(cpu)) = (samples.timing(label, Basis::Wall), samples.timing(label, Basis::Cpu)) else {
            continue;
        };
        let name = path.display().to_string();
        let name: String = name.chars().skip(name.chars().count().saturating_sub(40)).collect();
        let (median, p90, p99) = (wall.median_ms, wall.p90_ms, wall.p99_ms);
        lines.push(format!("{name:<40} {median:>10.3} {p90:>10.3} {p99:>10.3} {:>12.3}", cpu.median_ms));
    }
    if let Some(found) = samples.reduction("A", "B", args.seed) {
        let clock = if found.basis == Basis::Cpu { "CPU time" } else { "wall time" };
        let verdict = if found.gain().is_some() || found.high < 0.0 { "" } else { ": not measurable" };
        lines.push(format!(
            "latency reduction {:.1} % [{:.1}, {:.1}] on {clock}{verdict}",
            100.0 * found.value,
            100.0 * found.low,
            100.0 * found.high
        ));
    }
    lines.push(format!(
        "{} {} on {}, batch {}, {} thread(s), {} runs in {} rounds",
        samples.engine.name(),
        samples.engine_version,
        samples.device,
        samples.batch,
        samples.threads,
        runs(samples),
        samples.rounds.len()
    ));
    lines.join("\n")
}

fn json(args: &Args, samples: &Samples) -> String {
    let models = labelled(args).map(|(label, path)| {
        serde_json::json!({
            "path": path,
            "wall": samples.timing(label, Basis::Wall),
            "cpu": samples.timing(label, Basis::Cpu),
            "median_ms": samples.median_ms(label, Basis::Wall, args.seed),
        })
    });
    let value = serde_json::json!({
        "engine": samples.engine,
        "engine_version": samples.engine_version,
        "device": samples.device,
        "batch": samples.batch,
        "threads": samples.threads,
        "runs": runs(samples),
        "rounds": samples.rounds.len(),
        "models": models.collect::<Vec<_>>(),
        "reduction": samples.reduction("A", "B", args.seed),
    });
    serde_json::to_string_pretty(&value).expect("plain values serialize")
}

fn labelled(args: &Args) -> impl Iterator<Item = (&'static str, &PathBuf)> {
    ["A", "B"].into_iter().zip([Some(&args.first), args.second.as_ref()].into_iter().flatten())
}

fn runs(samples: &Samples) -> usize {
    samples.rounds.iter().filter_map(|round| round.get("A")).map(|series| series.wall_ns.len()).sum()
}

fn parse_size(text: &str) -> Result<(usize, usize), String> {
    let size = text.split_once(['x', 'X', '×']).and_then(|(h, w)| Some((h.parse().ok()?, w.parse().ok()?)));
    size.filter(|(h, w)| (1..=8192).contains(h) && (1..=8192).contains(w))
        .ok_or_else(|| "height and width in pixels, such as 224x224".to_owned())
}
