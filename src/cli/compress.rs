//! `practised compress`: one job on this machine, without a service.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Map, Value, json};

use crate::compress::observer::Observer;
use crate::compress::pipeline::{self, Bench, Costs, Exported};
use crate::exec::{self, Device};
use crate::latency::Probe;
use crate::spec::config::{self, JobConfig};
use crate::spec::phase::Phase;
use crate::spec::report::{Figure, Quality, Report};

use super::failure::{Failure, finish};
use super::files;
use super::progress::Progress;
use super::table::Table;

/// Arguments of `practised compress`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The network.
    #[arg(value_name = "MODEL.onnx")]
    model: PathBuf,
    /// A few unlabelled images, as a zip or a folder; if omitted, synthetic images are used.
    #[arg(long, value_name = "ZIP|DIR")]
    images: Option<PathBuf>,
    /// Preprocessing from image files to the network's input, as in a job.
    #[arg(long, value_name = "FILE.json")]
    preprocess: Option<PathBuf>,
    /// The body of POST /v1/jobs without model and images; options on the command line override it.
    #[arg(long, value_name = "FILE.json")]
    job: Option<PathBuf>,
    /// Drop this many blocks.
    #[arg(long, value_name = "K", group = "target")]
    blocks: Option<u64>,
    /// Drop blocks until the latency is reduced by this share (0.2 is 20 %).
    #[arg(long, value_name = "R", group = "target")]
    latency_reduction: Option<f64>,
    /// Drop blocks until the latency is at most this many milliseconds.
    #[arg(long, value_name = "MS", group = "target")]
    latency_ms: Option<f64>,
    /// Engine that latency is measured in.
    #[arg(long, value_name = "onnxruntime|torch")]
    engine: Option<String>,
    /// Batch size that latency is measured at.
    #[arg(long, value_name = "N")]
    batch: Option<u64>,
    /// Threads that latency is measured with.
    #[arg(long, value_name = "N")]
    threads: Option<u64>,
    /// Seed of every random choice.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Device to compute on: cpu or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// Folder for student.onnx, report.json and latency_samples.csv; created if it does not exist.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Print the report as JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// Runs `practised compress`.
pub fn run(args: Args) -> ExitCode {
    finish(compress(&args), args.json)
}

fn compress(args: &Args) -> Result<(), Failure> {
    let model = files::read_model(&args.model)?;
    let config = config::parse(&job(args)?, &[])?;
    let images = args.images.as_deref().map(|path| files::read_images(path, None)).transpose()?;
    exec::set_threads(exec::usual_threads());
    let progress = Progress::new();
    let bench = Bench::open(
        &model,
        images.as_ref(),
        &config,
        args.device,
        Probe::current(args.device).map_err(crate::compress::CompressError::from)?,
        &progress,
    )?;
    let exported = run_steps(&bench, &config, &progress)?;
    let out = |error: std::io::Error| Failure::input("file_unwritable", format!("{}: {error}", args.out.display()));
    std::fs::create_dir_all(&args.out).map_err(out)?;
    for artifact in &exported.artifacts {
        files::write(&args.out.join(&artifact.name), &artifact.bytes)?;
    }
    if args.json {
        return files::print_json(&exported.report);
    }
    print(&exported.report);
    println!("\nfiles in {}", args.out.display());
    Ok(())
}

/// All steps of a job, one after the other.
fn run_steps(bench: &Bench, config: &JobConfig, progress: &Progress) -> Result<Exported, Failure> {
    let measured = pipeline::measure(bench, progress)?;
    let candidates = bench.candidates()?;
    let mut scores = Vec::with_capacity(candidates.len());
    for block in &candidates {
        progress.progress(Phase::Score, scores.len() as u64, candidates.len() as u64);
        scores.push(pipeline::score(bench, &block.name, progress)?);
    }
    progress.progress(Phase::Score, scores.len() as u64, candidates.len() as u64);
    let selection = pipeline::select(bench, &measured, &scores, progress)?;
    if config.finetune.0.is_some() {
        progress.progress(Phase::Finetune, 0, 1);
    }
    let tuned = pipeline::finetune(bench, &selection, progress)?;
    let exported = pipeline::export(
        bench,
        &measured,
        &scores,
        &selection,
        &tuned.summary,
        tuned.students(),
        &Costs::default(),
        progress,
    )?;
    progress.finish();
    Ok(exported)
}

/// The job's body: the file's, overridden by options.
fn job(args: &Args) -> Result<Map<String, Value>, Failure> {
    let mut body: Map<String, Value> = args.job.as_deref().map_or_else(|| Ok(Map::new()), files::read_json)?;
    if let Some(preprocess) = &args.preprocess {
        body.insert("preprocess".into(), files::read_json(preprocess)?);
    }
    let target = [
        args.blocks.map(|k| json!({"blocks": k})),
        args.latency_reduction.map(|r| json!({"latency_reduction": r})),
        args.latency_ms.map(|ms| json!({"latency_ms": ms})),
    ];
    if let Some(target) = target.into_iter().flatten().next() {
        body.insert("target".into(), target);
    }
    if let Some(seed) = args.seed {
        body.insert("seed".into(), json!(seed));
    }
    let latency = body.entry("latency").or_insert_with(|| json!({}));
    let wishes = [
        ("engine", args.engine.as_ref().map(|engine| json!(engine))),
        ("batch", args.batch.map(|batch| json!(batch))),
        ("threads", args.threads.map(|threads| json!(threads))),
    ];
    if let Value::Object(latency) = latency {
        latency.extend(wishes.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    }
    Ok(body)
}

/// Three digits of a number, however small it is.
fn significant(value: f64) -> String {
    match value.abs() {
        size if size == 0.0 || size >= 1e6 => format!("{value:.3e}").replace("0.000e0", "0"),
        size if size < 1e-3 => format!("{value:.2e}"),
        size => format!("{value:.*}", (2 - size.log10().floor() as i32).max(0) as usize),
    }
}

fn print(report: &Report) {
    let percent = |figure: &Figure| match (figure.low, figure.high) {
        (Some(low), Some(high)) => {
            format!("{:.1} % [{:.1}, {:.1}]", 100.0 * figure.value, 100.0 * low, 100.0 * high)
        }
        _ => format!("{:.1} %", 100.0 * figure.value),
    };
    let mut table = Table::new(&["", "teacher", "as dropped", "student"]);
    let mut row = |what: &str, cells: [String; 3]| {
        let mut all = vec![what.to_owned()];
        all.extend(cells);
        table.row(all);
    };
    let (latency, quality) = (&report.latency, &report.quality);
    let ms = |ms: f64| format!("{ms:.3} ms");
    row("latency (median)", [ms(latency.teacher.median_ms), String::new(), ms(latency.student.median_ms)]);
    row("latency reduction", [String::new(), String::new(), percent(&latency.reduction)]);
    if let (Some(before), Some(after)) = (quality.before_finetune.agreement, quality.after.agreement) {
        let what = if quality.images_from.is_made() { "agreement on synthetic images" } else { "agreement" };
        row(what, [String::new(), percent(&before), percent(&after)]);
    }
    let loss = |quality: &Quality| match quality.feature_share {
        Some(share) => format!("{} ({} of a constant's)", significant(quality.feature_loss), significant(share)),
        None => significant(quality.feature_loss),
    };
    row("feature loss", [String::new(), loss(&quality.before_finetune), loss(&quality.after)]);
    let error =
        |error: Option<f64>| error.map_or_else(String::new, |share| format!("{} of a constant's", significant(share)));
    for output in &quality.outputs {
        let cells = [String::new(), error(output.error_before_finetune), error(output.error)];
        row(&format!("error of {:?}", output.name), cells);
    }
    row(
        "parameters",
        [report.size.teacher.parameters.to_string(), String::new(), report.size.student.parameters.to_string()],
    );
    println!("{:?}: dropped {}\n\n{table}", report.outcome, report.dropped_blocks.join(", "));
    for warning in &report.warnings {
        println!("note: {}", warning.detail);
    }
}

#[cfg(test)]
mod tests {
    use super::significant;

    #[test]
    fn small_numbers_keep_their_digits() {
        let written = [0.000_402, 0.000_02, 0.0123, 0.5, 12.34, 1234.5, 0.0].map(significant);
        assert_eq!(written, ["4.02e-4", "2.00e-5", "0.0123", "0.500", "12.3", "1234", "0"]);
    }
}
