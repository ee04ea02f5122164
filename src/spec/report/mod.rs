//! The report of a finished job: one type for `report.json`, the API and the command line. Values are not rounded.

mod figure;
mod recovery;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::analysis::BlockInfo;
use super::config::{JobConfig, RecoverabilityMethod};
use super::latency::{Basis, Engine, Timing};
use super::phase::Phase;

pub use figure::{Figure, Interval, Loss};
pub use recovery::{FinetuneReport, GivenUp, HistoryPoint, RefitReport};

/// The report of a finished job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Whether the target was met.
    pub outcome: Outcome,
    /// Names of the dropped blocks, in the order of their scores.
    pub dropped_blocks: Vec<String>,
    /// Every residual addition of the teacher.
    pub blocks: Vec<BlockRow>,
    /// Latency of teacher and student, measured side by side.
    pub latency: LatencyReport,
    /// Quality of the student compared with the teacher.
    pub quality: QualityReport,
    /// What fine-tuning did; absent if the job asked for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finetune: Option<FinetuneReport>,
    /// One student for each number k of dropped blocks, with the lowest scores, before fine-tuning.
    pub curve: Vec<CurvePoint>,
    /// Sets with tied scores that were not chosen: they are nearer to the output, or save clearly less time.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub ties: Vec<CurvePoint>,
    /// Larger sets whose recovered students did not reach `quality_floor`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub given_up: Vec<GivenUp>,
    /// Parameters, multiply-accumulates and bytes.
    pub size: SizeReport,
    /// Time and teacher evaluations of the job.
    pub cost: CostReport,
    /// Warnings, each with a stable code.
    pub warnings: Vec<Warning>,
    /// Everything that is needed to reproduce the job.
    pub reproduce: Reproduce,
}

/// Outcome of a job that succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The measured student meets the target.
    TargetMet,
    /// No allowed set of blocks meets it; this student is the fastest that was found.
    TargetUnreachable,
    /// The student that meets it does not reach `quality_floor`: fewer blocks were dropped.
    QualityFloorHit,
}

/// One residual addition of the teacher.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlockRow {
    /// Its description from the file alone.
    #[serde(flatten)]
    pub info: BlockInfo,
    /// Feature loss left after recovery without this block (lower is better).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recoverability: Option<Recoverability>,
    /// Measured latency reduction of dropping this block alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_reduction: Option<Figure>,
    /// Recoverability ÷ latency reduction (with `"finetune": null`, the plain drop's loss ÷ latency reduction); absent if the
    /// reduction is not measurable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Whether it goes; absent until that is decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped: Option<bool>,
}

/// Recoverability of one block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recoverability {
    /// Feature loss after the fit (adapters or closed form).
    #[serde(flatten)]
    pub loss: Loss,
    /// Feature loss of the plain drop.
    pub plain: Loss,
    /// How it was fitted.
    pub method: RecoverabilityMethod,
}

/// Latency of teacher and student.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LatencyReport {
    /// Engine that ran the networks.
    pub engine: Engine,
    /// Name of the processor or GPU.
    pub device: String,
    /// Images per run.
    pub batch: usize,
    /// Threads of the engine.
    pub threads: usize,
    /// Clock that `reduction` was read from.
    pub basis: Basis,
    /// The uploaded network.
    pub teacher: Timing,
    /// The compressed one.
    pub student: Timing,
    /// (teacher − student) / teacher.
    pub reduction: Figure,
    /// Number of paired samples over all rounds.
    pub pairs: usize,
    /// Number of measuring processes.
    pub rounds: usize,
}

/// Quality of the student compared with the teacher.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QualityReport {
    /// Number of images by use.
    pub images: ImageCounts,
    /// Source of these images. Figures on synthetic images say little about the customer's.
    #[serde(default)]
    pub images_from: ImageSource,
    /// The delivered student.
    #[serde(flatten)]
    pub after: Quality,
    /// The student before recovery.
    pub before_finetune: Quality,
    /// The refitted student, before any training; absent if nothing was refitted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub refit: Option<Quality>,
    /// Feature loss of the best constant answer, on the same images.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub constant_loss: Option<f64>,
    /// Quality of each output.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub outputs: Vec<OutputQuality>,
    /// The evidence that the first output is classes; without it there is no agreement.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub classes_by: Option<Evidence>,
    /// Accuracy on the labelled images, if labels were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top1: Option<Top1>,
}

/// Number of images by use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageCounts {
    /// Images that were fitted.
    pub fit: usize,
    /// Validation images; if there are any, the quality figures are measured on them.
    pub held_out: usize,
    /// Number of synthetic images among them.
    pub synthetic: usize,
}

/// A student compared with its teacher on the held-out images (on the fitted ones if none were held out).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Share of images for which both predict the same class; absent without evidence that the output is classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement: Option<Figure>,
    /// Mean squared error of the features.
    pub feature_loss: f64,
    /// The same as a share of the best constant answer's: 0 is the teacher, 1 is no better than a constant.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub feature_share: Option<f64>,
}

/// Quality of one output of the student on the validation images. Errors are mean squared errors (for labels, the share of
/// elements that differ) as a share of the best constant answer's: 0 is the teacher, 1 is no better than a constant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputQuality {
    /// Name of the output.
    pub name: String,
    /// Mean squared error of the best constant answer, in the output's own unit (for labels, the share of elements that
    /// differ); absent with a single image.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub constant: Option<f64>,
    /// Error of the student before recovery; absent if the teacher is constant, and with a single image.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error_before_finetune: Option<f64>,
    /// Error of the refitted student, before any training; absent if nothing was refitted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error_refit: Option<f64>,
    /// Error of the delivered student.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<f64>,
    /// Correlation of the delivered student's output with the teacher's over the images, each element centred: 1 is full
    /// correlation, 0 is none or a constant. Absent if `error` is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub correlation: Option<f64>,
}

/// Share of images whose top class is the label.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Top1 {
    /// The uploaded network.
    pub teacher: Figure,
    /// The student before recovery.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub before_finetune: Option<Figure>,
    /// The delivered student.
    pub student: Figure,
}

/// A student of the curve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Number of blocks dropped.
    pub blocks: usize,
    /// Their names.
    pub dropped: Vec<String>,
    /// Measured reduction of the assembled student.
    pub latency_reduction: Figure,
    /// Measured median latency of the assembled student, milliseconds.
    pub latency_ms: f64,
    /// Feature loss on the held-out images before fine-tuning.
    pub feature_loss: f64,
    /// The same as a share of the best constant answer's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub feature_share: Option<f64>,
    /// Agreement on the held-out images before fine-tuning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement: Option<Figure>,
}

/// Size of teacher and student.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SizeReport {
    /// The uploaded network.
    pub teacher: Size,
    /// The compressed one.
    pub student: Size,
}

/// Size of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Elements of its floating-point weights, as stored in the file: shared ones count once.
    pub parameters: u64,
    /// Multiply-accumulates for one image.
    pub macs: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Cost of a job.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CostReport {
    /// Seconds of work, summed over the tasks (tasks on several workers overlap).
    pub wall_seconds: f64,
    /// Number of images that the teacher was evaluated on, for training and quality.
    pub teacher_forwards: u64,
    /// Seconds by phase.
    pub phases: BTreeMap<Phase, f64>,
    /// Number of scores reused from earlier jobs on the same network and images; `phases` does not include their seconds.
    #[serde(default)]
    pub reused_scores: usize,
}

/// A warning to the customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// Stable code for programs, such as `low_agreement`.
    pub code: String,
    /// The warning in words, with its fix.
    pub detail: String,
}

/// Everything that is needed to reproduce the job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reproduce {
    /// Version of this service.
    pub version: String,
    /// Seed of every random choice.
    pub seed: u64,
    /// All settings, with defaults resolved.
    pub config: JobConfig,
    /// SHA-256 of the uploaded network.
    pub model_sha256: String,
    /// SHA-256 over the images, in order.
    pub images_sha256: String,
    /// SHA-256 of the delivered network.
    pub student_sha256: String,
    /// Version of libtorch.
    pub libtorch: String,
    /// Version of ONNX Runtime.
    pub onnxruntime: String,
    /// Device that computed, such as `cpu` or `cuda:0`.
    pub device: String,
}

/// Source of the images, best first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageSource {
    /// The customer's images.
    #[default]
    Given,
    /// The customer's images, with synthetic ones added for fitting: they are too few to hold any out, have no colour, or are
    /// foreign to the network.
    GivenAndProcedural,
    /// Procedural images, because the customer gave none.
    Procedural,
    /// Procedural images, optimised until the teacher recognises them, because the customer gave none.
    Synthesised,
}

impl ImageSource {
    /// Whether all images are synthetic.
    pub fn is_made(self) -> bool {
        matches!(self, Self::Procedural | Self::Synthesised)
    }
}

/// Evidence that an output is classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// The network ends in a `Softmax`.
    Softmax,
    /// Name of the output or of the layer that computes it.
    Name,
    /// The file's metadata.
    Metadata,
    /// The rows of the last linear layer sum to zero, as cross entropy leaves them.
    Head,
    /// The outputs are distributions: positive, with sum 1.
    Distribution,
    /// The network predicts the given labels better than chance.
    Labels,
    /// The network itself outputs the index of the largest one.
    Place,
}
