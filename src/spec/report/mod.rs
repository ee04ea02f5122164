//! What a finished job says: one type for `report.json`, the API and the command line. Nothing is rounded here.

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
    /// Names of the blocks that went, in the order of their scores.
    pub dropped_blocks: Vec<String>,
    /// Every residual addition of the teacher.
    pub blocks: Vec<BlockRow>,
    /// Latency of teacher and student, measured side by side.
    pub latency: LatencyReport,
    /// How well the student stands in for the teacher.
    pub quality: QualityReport,
    /// What fine-tuning did; absent where none was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finetune: Option<FinetuneReport>,
    /// The students on the way: the k blocks with the lowest scores dropped, before fine-tuning.
    pub curve: Vec<CurvePoint>,
    /// Sets whose scores were level with the chosen one's, and which stand nearer to the output or gain clearly less.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub ties: Vec<CurvePoint>,
    /// Larger sets whose recovered students did not reach the quality asked for.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub given_up: Vec<GivenUp>,
    /// Parameters, multiply-accumulates and bytes.
    pub size: SizeReport,
    /// What it took.
    pub cost: CostReport,
    /// What the customer should know.
    pub warnings: Vec<Warning>,
    /// What is needed to do it again.
    pub reproduce: Reproduce,
}

/// How a succeeded job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The measured student meets the target.
    TargetMet,
    /// No allowed set of blocks meets it; this is the best there is.
    TargetUnreachable,
    /// The student that meets it is not as good as was asked for: fewer blocks went.
    QualityFloorHit,
}

/// One residual addition of the teacher.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlockRow {
    /// What the file alone tells of it.
    #[serde(flatten)]
    pub info: BlockInfo,
    /// Feature loss left after recovery without this block (lower is better).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recoverability: Option<Recoverability>,
    /// Measured latency reduction of dropping this block alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_reduction: Option<Figure>,
    /// Recoverability ÷ latency reduction, with `"finetune": null` that of the plain drop; absent where the gain is not measurable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Whether it goes; absent until that is decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped: Option<bool>,
}

/// Recoverability of one block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recoverability {
    /// Feature loss with the adapters fitted.
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
    /// What ran the networks.
    pub engine: Engine,
    /// Device and processor.
    pub device: String,
    /// Images per run.
    pub batch: usize,
    /// Threads within an operator.
    pub threads: usize,
    /// The clock that decided.
    pub basis: Basis,
    /// The uploaded network.
    pub teacher: Timing,
    /// The compressed one.
    pub student: Timing,
    /// (teacher − student) / teacher.
    pub reduction: Figure,
    /// Paired samples that the reduction rests on, over all rounds.
    pub pairs: usize,
    /// Occasions on which was measured.
    pub rounds: usize,
}

/// How well the student stands in for the teacher.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QualityReport {
    /// What it was measured on.
    pub images: ImageCounts,
    /// Where these images come from. Figures on made images say little about the customer's.
    #[serde(default)]
    pub images_from: Rung,
    /// The delivered student.
    #[serde(flatten)]
    pub after: Quality,
    /// The student as dropped, before fine-tuning.
    pub before_finetune: Quality,
    /// The refitted student, before any training; absent if nothing was refitted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub refit: Option<Quality>,
    /// Feature loss of the best constant answer, on the same images.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub constant_loss: Option<f64>,
    /// Every output by itself.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub outputs: Vec<OutputQuality>,
    /// What shows that the first output is classes; without it there is no agreement.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub classes_by: Option<Evidence>,
    /// Accuracy on the labelled images, where labels were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top1: Option<Top1>,
}

/// Images by their use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageCounts {
    /// Fitted on.
    pub fit: usize,
    /// Only measured on; the quality figures come from these where there are any.
    pub held_out: usize,
    /// Of these, made and not given.
    pub synthetic: usize,
}

/// A student against its teacher on the held-out images (on the fitted ones where none were held out).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Share of images where both pick the same top class; absent if nothing shows that the output is classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement: Option<Figure>,
    /// Mean squared error of the features.
    pub feature_loss: f64,
    /// The same as a share of what the best constant answer has: 0 is the teacher, 1 no better than always saying the same.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub feature_share: Option<f64>,
}

/// How well a student's output stands in for its teacher's, on the images that quality is measured on. Errors are mean squared
/// errors (of labels, the share of elements that differ) as a share of what the best constant answer has: 0 is the teacher, 1 no
/// better than always saying the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputQuality {
    /// Name of the output.
    pub name: String,
    /// Mean squared error of the best constant answer, in the output's own unit (of labels, the share of elements that differ);
    /// absent with a single image.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub constant: Option<f64>,
    /// Error of the student as dropped; absent if the teacher always says the same, and with a single image.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error_before_finetune: Option<f64>,
    /// Error of the refitted student, before any training; absent if nothing was refitted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error_refit: Option<f64>,
    /// Error of the delivered student.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<f64>,
    /// How far the delivered student's answers follow the teacher's over the images, every element about its mean: 1 in step with
    /// them, 0 not at all or always the same. Absent as `error` is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub correlation: Option<f64>,
}

/// Share of images whose top class is the label.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Top1 {
    /// The uploaded network.
    pub teacher: Figure,
    /// The student as dropped.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub before_finetune: Option<Figure>,
    /// The delivered student.
    pub student: Figure,
}

/// A student on the way.
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
    /// The same as a share of what the best constant answer has.
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
    /// Elements of its floating-point weights, as the file stores them: shared ones count once.
    pub parameters: u64,
    /// Multiply-accumulates for one image.
    pub macs: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// What a job took.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CostReport {
    /// Seconds of work, summed over the tasks (tasks on several workers overlap).
    pub wall_seconds: f64,
    /// Images that the teacher was asked about, in training and measuring quality.
    pub teacher_forwards: u64,
    /// Seconds by phase.
    pub phases: BTreeMap<Phase, f64>,
    /// Scores that an earlier job on the same network and images had left; their seconds are not in `phases`.
    #[serde(default)]
    pub reused_scores: usize,
}

/// Something the customer should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// Stable name.
    pub code: String,
    /// A sentence.
    pub detail: String,
}

/// What is needed to do it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reproduce {
    /// Version of this service.
    pub version: String,
    /// Seed of every random choice.
    pub seed: u64,
    /// Every wish, with its default resolved.
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
    /// Device that computed.
    pub device: String,
}

/// Where the images come from: the steps of the ladder, best first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// The customer's.
    #[default]
    Given,
    /// The customer's, too few to hold any out, without any colour or foreign to the network, with pictures drawn beside them to
    /// fit on.
    GivenAndProcedural,
    /// Drawn by a program, because the customer gave none.
    Procedural,
    /// Drawn by a program and changed until the teacher recognises them, because the customer gave none.
    Synthesised,
}

impl Rung {
    /// Whether all images were made, none given.
    pub fn is_made(self) -> bool {
        matches!(self, Self::Procedural | Self::Synthesised)
    }
}

/// What speaks for classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// The network ends in a `Softmax`.
    Softmax,
    /// Name of the output or of the layer that makes it.
    Name,
    /// The file's metadata.
    Metadata,
    /// The rows of the last linear layer add up to nothing, as cross entropy leaves them.
    Head,
    /// The answers are distributions.
    Distribution,
    /// The network gets the given labels right more often than by chance.
    Labels,
    /// The network itself puts out which of them is the largest.
    Place,
}
