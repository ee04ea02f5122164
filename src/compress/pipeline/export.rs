//! Step 5: the file is read back, run in ONNX Runtime and measured again; only then is anything claimed.

use std::collections::BTreeMap;
use std::time::Instant;

use super::results::Students;
use super::select::{self, STUDENT};
use super::warnings::warnings;
use super::workbench::{TEACHER, reduction};
use super::{Bench, FinetuneSummary, Selection};
use crate::compress::observer::Observer;
use crate::compress::quality::relative::constant_loss;
use crate::compress::{CompressError, file};
use crate::exec::LIBTORCH;
use crate::hash::sha256_hex;
use crate::network::Network;
use crate::spec::config::{JobConfig, Target};
use crate::spec::latency::{Basis, Reduction};
use crate::spec::phase::Phase;
use crate::spec::report::{
    BlockRow, CostReport, ImageCounts, LatencyReport, Outcome, QualityReport, Report, Reproduce, Size, SizeReport,
};
use crate::spec::task::{BlockScore, Findings, Measured};
use crate::{latency, onnxruntime};

/// A file a customer downloads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// File name.
    pub name: String,
    /// Media type.
    pub media_type: String,
    /// Content.
    pub bytes: Vec<u8>,
}

/// What a finished job delivers.
#[derive(Debug, Clone, PartialEq)]
pub struct Exported {
    /// The report.
    pub report: Report,
    /// The files.
    pub artifacts: Vec<Artifact>,
}

/// Seconds that the earlier phases took where the caller knows better than the steps (tasks that were run again, say).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Costs {
    /// Seconds by phase; taken from the steps' own results where absent.
    pub phases: BTreeMap<Phase, f64>,
    /// Scores among them that were there before.
    pub reused_scores: usize,
}

/// Everything that the earlier steps found out.
struct Found<'a> {
    measured: &'a Measured,
    scores: &'a [BlockScore],
    selection: &'a Selection,
    summary: &'a FinetuneSummary,
}

/// Checks and measures the student, and writes the report.
#[allow(clippy::too_many_arguments)]
pub fn export(
    bench: &Bench,
    measured: &Measured,
    scores: &[BlockScore],
    selection: &Selection,
    summary: &FinetuneSummary,
    students: Students,
    costs: &Costs,
    observer: &dyn Observer,
) -> Result<Exported, CompressError> {
    let began = Instant::now();
    let student = students.student;
    let selection = &selection.with(&summary.dropped);
    let found = Found { measured, scores, selection, summary };
    observer.progress(Phase::Verify, 0, 2);
    let images = bench.samples.select(&bench.samples.deciding()[..1])?;
    let decoded = Network::load_for(student, &bench.config.inputs, |_| Ok(bench.network.size))?;
    file::verify_decoded(&bench.network, (student, &decoded.model.graph), &images, None, bench.device)?;
    observer.progress(Phase::Verify, 1, 2);
    let samples = final_samples(bench, selection, student, observer)?;
    observer.progress(Phase::Verify, 2, 2);
    let size = SizeReport { teacher: size(&bench.network, &bench.model), student: size(&decoded, student) };
    let mut report = report(bench, &found, &samples, (student, size))?;
    report.cost = cost(bench, &found, costs, began.elapsed().as_secs_f64());
    let artifacts = artifacts(&report, &samples, students)?;
    Ok(Exported { report, artifacts })
}

/// The delivered file measured against the teacher's, together with the occasion on which its blocks were chosen: one
/// occasion alone has too narrow an interval.
fn final_samples(
    bench: &Bench,
    selection: &Selection,
    student: &[u8],
    observer: &dyn Observer,
) -> Result<latency::Samples, CompressError> {
    let mut samples = bench.latency(&[(STUDENT, student)], observer)?;
    if let Some(earlier) = selection.samples.clone().filter(|earlier| earlier.setting() == samples.setting()) {
        samples.merge(earlier)?;
    }
    Ok(samples)
}

fn report(
    bench: &Bench,
    found: &Found,
    samples: &latency::Samples,
    (student, size): (&[u8], SizeReport),
) -> Result<Report, CompressError> {
    let reduction = reduction(samples, STUDENT, bench.config.seed)?;
    let outcome = match found.summary.given_up.is_empty() {
        true => outcome(&bench.config, found.selection, samples, &reduction),
        false => Outcome::QualityFloorHit,
    };
    Ok(Report {
        outcome,
        dropped_blocks: found.selection.chosen.dropped.clone(),
        blocks: block_rows(bench, found),
        latency: latency_report(bench, samples, &reduction)?,
        quality: QualityReport {
            images: image_counts(bench),
            images_from: bench.rung,
            after: found.summary.after,
            before_finetune: found.summary.before,
            refit: found.summary.refit,
            constant_loss: constant_loss(&bench.setting()?.deciding().features)?,
            outputs: found.summary.outputs.clone(),
            classes_by: bench.classes()?,
            top1: found.summary.top1,
        },
        finetune: found.summary.report.clone(),
        curve: found.selection.curve.clone(),
        ties: found.selection.ties.clone(),
        given_up: found.summary.given_up.clone(),
        size,
        cost: CostReport::default(),
        warnings: warnings(bench, found.measured, found.selection, found.summary, outcome, &reduction, &size)?,
        reproduce: reproduce(bench, student, onnxruntime::version()),
    })
}

/// The set was chosen because it met the target when it was measured. Measured again, it may read a little less: within
/// its interval that is noise, beyond it the claim is withdrawn.
fn outcome(config: &JobConfig, selection: &Selection, samples: &latency::Samples, reduction: &Reduction) -> Outcome {
    let still = select::reaches(config.target, samples, reduction, selection.chosen.dropped.len());
    let within_noise = match config.target {
        Target::LatencyReduction(wanted) => reduction.high >= wanted,
        Target::LatencyMs(most) => select::median_ms(samples) <= most * 1.05,
        Target::Blocks(_) => false,
    };
    if selection.outcome == Outcome::TargetMet && (still || within_noise) {
        Outcome::TargetMet
    } else {
        Outcome::TargetUnreachable
    }
}

fn block_rows(bench: &Bench, found: &Found) -> Vec<BlockRow> {
    let findings = Findings {
        measured: Some(found.measured.clone()),
        scores: found.scores.to_vec(),
        chosen: Some(found.selection.chosen.clone()),
    };
    bench.network.blocks.iter().map(|block| findings.row(block.info())).collect()
}

fn latency_report(
    bench: &Bench,
    samples: &latency::Samples,
    reduction: &Reduction,
) -> Result<LatencyReport, CompressError> {
    let timing = |label| {
        let timing = samples.timing(label, Basis::Wall);
        timing.ok_or_else(|| CompressError::TooFewSamples(format!("the {label}")))
    };
    Ok(LatencyReport {
        engine: bench.config.latency.engine,
        device: samples.device.clone(),
        batch: bench.config.latency.batch,
        threads: bench.config.latency.threads,
        basis: reduction.basis,
        teacher: timing(TEACHER)?,
        student: timing(STUDENT)?,
        reduction: (*reduction).into(),
        pairs: reduction.pairs,
        rounds: reduction.rounds,
    })
}

fn size(network: &Network, file: &[u8]) -> Size {
    let analysis = network.analysis();
    Size { parameters: analysis.parameters, macs: analysis.macs, bytes: file.len() as u64 }
}

fn cost(bench: &Bench, found: &Found, costs: &Costs, verify: f64) -> CostReport {
    let mut phases = BTreeMap::from([
        (Phase::Measure, found.measured.seconds),
        (Phase::Score, found.scores.iter().map(|score| score.seconds).sum()),
        (Phase::Select, found.selection.seconds),
        (Phase::Finetune, found.summary.seconds),
        (Phase::Verify, verify),
    ]);
    phases.extend(costs.phases.iter().map(|(phase, seconds)| (*phase, *seconds)));
    let scoring: u64 = found.scores.iter().map(|score| score.teacher_forwards).sum();
    // For the features, and once more for all outputs.
    let measuring = (bench.samples.fit.len() + bench.samples.held_out.len() + bench.samples.deciding().len()) as u64;
    CostReport {
        wall_seconds: phases.values().sum(),
        teacher_forwards: scoring + found.summary.teacher_forwards + measuring,
        phases,
        reused_scores: costs.reused_scores,
    }
}

fn reproduce(bench: &Bench, student: &[u8], onnxruntime: Option<String>) -> Reproduce {
    Reproduce {
        version: env!("CARGO_PKG_VERSION").into(),
        seed: bench.config.seed,
        config: bench.config.clone(),
        model_sha256: sha256_hex(&bench.model),
        images_sha256: bench.images_sha256.clone(),
        student_sha256: sha256_hex(student),
        libtorch: LIBTORCH.into(),
        onnxruntime: onnxruntime.unwrap_or_else(|| "unknown".into()),
        device: bench.device.to_string(),
    }
}

fn artifacts(report: &Report, samples: &latency::Samples, students: Students) -> Result<Vec<Artifact>, CompressError> {
    let artifact = |name: &str, media_type: &str, bytes: Vec<u8>| Artifact {
        name: name.into(),
        media_type: media_type.into(),
        bytes,
    };
    let json = serde_json::to_vec_pretty(report)?;
    let onnx = |name: &str, bytes: &[u8]| artifact(name, "application/octet-stream", bytes.to_vec());
    let mut all = vec![
        onnx("student.onnx", students.student),
        onnx("student_before_finetune.onnx", students.before_finetune),
        artifact("report.json", "application/json", json),
        artifact("latency_samples.csv", "text/csv", samples.to_csv().into_bytes()),
    ];
    all.extend(students.refit.map(|refit| onnx("student_refit.onnx", refit)));
    Ok(all)
}

fn image_counts(bench: &Bench) -> ImageCounts {
    let (fit, held_out) = (bench.samples.fit.len(), bench.samples.held_out.len());
    let synthetic = if bench.rung.is_made() { fit + held_out } else { 0 };
    ImageCounts { fit, held_out, synthetic }
}
