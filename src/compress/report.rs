//! What a finished job says: one type for `report.json`, the API and the command line. Nothing is rounded here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::analyse::BlockInfo;
use super::classes::Evidence;
use super::config::{JobConfig, Recipe, RecoverabilityMethod};
use super::observer::Phase;
use super::precision::Precision;
use super::tiny_set::Rung;
use crate::latency::{Basis, Engine, Reduction, Timing};

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

/// A figure with its 95 % interval, where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The estimate.
    pub value: f64,
    /// Lower end of the 95 % interval.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub low: Option<f64>,
    /// Upper end of the 95 % interval.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub high: Option<f64>,
}

impl Figure {
    /// A share of `n` independent images, with its Wilson interval.
    pub fn share(hits: usize, n: usize) -> Self {
        let (k, n) = (hits as f64, n as f64);
        let p = k / n;
        let z = 1.96_f64;
        let centre = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
        let half = z / (1.0 + z * z / n) * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
        Self { value: p, low: Some((centre - half).max(0.0)), high: Some((centre + half).min(1.0)) }
    }
}

impl From<Reduction> for Figure {
    fn from(reduction: Reduction) -> Self {
        Self { value: reduction.value, low: Some(reduction.low), high: Some(reduction.high) }
    }
}

/// A mean squared error on the images fitted on and on the ones only measured on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// On the images that were fitted on, up to 32 of them.
    pub fit: f64,
    /// On the images held out; absent where there are too few images to hold any out.
    pub held_out: Option<f64>,
    /// 95 % interval of the one that choices go by, over images; absent with a single image.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub interval: Option<Interval>,
    /// The one that choices go by as a share of what the best constant answer has: 0 is the teacher, 1 no better than always saying
    /// the same. Absent with a single image, and if the teacher itself always says the same.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub share: Option<f64>,
}

/// Both ends of a 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// Of the mean of independent values, by Student's t; `None` for fewer than two.
    pub fn of_mean(values: &[f64]) -> Option<Self> {
        let n = values.len() as f64;
        if n < 2.0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let half = quantile_of_t(n - 1.0) * (variance / n).sqrt();
        Some(Self { low: mean - half, high: mean + half })
    }
}

/// The 97.5 % quantile of Student's t (Abramowitz & Stegun 26.7.5, three terms): within 0.4 % from 4 degrees of freedom on.
fn quantile_of_t(degrees: f64) -> f64 {
    let z = 1.959_964_f64;
    let (z3, z5, z7) = (z.powi(3), z.powi(5), z.powi(7));
    z + (z3 + z) / (4.0 * degrees)
        + (5.0 * z5 + 16.0 * z3 + 3.0 * z) / (96.0 * degrees.powi(2))
        + (3.0 * z7 + 19.0 * z5 + 17.0 * z3 - 15.0 * z) / (384.0 * degrees.powi(3))
}

impl Loss {
    /// The one that choices go by: held-out where there is one.
    pub fn deciding(&self) -> f64 {
        self.held_out.unwrap_or(self.fit)
    }
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
    /// Whether it went.
    pub dropped: bool,
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

/// A set of blocks whose student did not reach the quality asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GivenUp {
    /// Names of the blocks.
    pub dropped: Vec<String>,
    /// Agreement of the recovered student.
    pub agreement: Figure,
}

/// What fine-tuning did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FinetuneReport {
    /// The recipe.
    pub recipe: Recipe,
    /// Whether the images of a batch were mixed with each other.
    pub mixing: bool,
    /// Whether the outputs of the blocks on the way were to meet the teacher's; false too where training with them lowered
    /// nothing and was done once more without.
    #[serde(default)]
    pub hints: bool,
    /// What the steps computed in.
    #[serde(default)]
    pub precision: Precision,
    /// Steps asked for.
    pub steps: u32,
    /// Steps run, in the run that the figures are about.
    pub steps_run: u32,
    /// What was refitted in closed form before the first step; absent where the recipe refits nothing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub refit: Option<RefitReport>,
    /// Learning rate that was taken, where the recipe chooses one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub learning_rate: Option<f64>,
    /// Learning rates that were tried and undone, because they led astray or another one promised a lower loss on the images
    /// that decide.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub learning_rates_undone: Vec<f64>,
    /// True where the delivered student was fitted on all images, once the held-out ones had decided how: the quality
    /// figures are those of the run that had not seen them.
    #[serde(default)]
    pub fitted_on_all_images: bool,
    /// True where no step beat the start on the images that decide: the student is the start.
    pub recovery_rolled_back: bool,
    /// True where it was rolled back to the plain drop because only made pictures spoke for it, and they for too little.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gain_doubted: bool,
    /// BatchNormalizations made for an export that had them folded, folded back again on export.
    pub batch_norms_made: usize,
    /// Feature loss along the way, from step 0 on.
    pub history: Vec<HistoryPoint>,
}

/// Layers refitted in closed form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RefitReport {
    /// First outputs of the layers that were refitted.
    pub refitted: Vec<String>,
    /// Refits that did not lower the loss on the images that decide, and were undone.
    pub undone: usize,
    /// First outputs of layers that were not refitted because their kernel also stands elsewhere, where nothing tells what to fit it
    /// to.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub left_shared: Vec<String>,
    /// That loss with nothing refitted.
    pub loss_before: f64,
    /// That loss with what was refitted.
    pub loss_after: f64,
}

/// Feature loss at one step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HistoryPoint {
    /// Steps done.
    pub step: u32,
    /// Loss in evaluation mode on the images that decide.
    pub loss: f64,
    /// Seconds since the start.
    pub seconds: f64,
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

#[cfg(test)]
mod tests {
    use super::{Figure, Interval};

    #[test]
    fn the_interval_of_a_mean_is_students() {
        // 1 … 9: mean 5, standard error √7.5 / 3, t(8) = 2.306.
        let values: Vec<f64> = (1..=9).map(f64::from).collect();
        let Interval { low, high } = Interval::of_mean(&values).expect("nine values");
        let half = 2.306 * 7.5_f64.sqrt() / 3.0;
        assert!((low - (5.0 - half)).abs() < 0.01 && (high - (5.0 + half)).abs() < 0.01, "{low} {high}");
        assert_eq!(Interval::of_mean(&[1.0]), None);
    }

    #[test]
    fn the_interval_of_a_share_holds_it_and_stays_within_zero_and_one() {
        for (hits, n) in [(0, 10), (5, 10), (10, 10), (941, 1000)] {
            let share = Figure::share(hits, n);
            let (low, high) = (share.low.expect("low"), share.high.expect("high"));
            assert!(0.0 <= low && low <= share.value && share.value <= high && high <= 1.0, "{share:?}");
        }
        let many = Figure::share(941, 1000);
        assert!((many.high.expect("high") - many.low.expect("low") - 0.0294).abs() < 0.001, "{many:?}");
    }
}
