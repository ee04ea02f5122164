//! Settings of a job: parsed once with every default resolved, then trusted.

mod bounds;
mod parse;
mod problem;
mod recipe;

use serde::{Deserialize, Serialize};

use super::inputs::Given;
use super::latency::LatencyConfig;
use crate::images::Preprocess;

pub use parse::{FIELDS, GUESSES, parse};
pub use problem::FieldProblem;
pub use recipe::{FinetuneConfig, Finetuning, LARGE, Part, Precision, Recipe};

/// A job's settings, without the model and the images. `Default` has the values of an empty body.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JobConfig {
    /// Preprocessing from image files to the model's input.
    pub preprocess: Preprocess,
    /// When to stop dropping.
    pub target: Target,
    /// Values of the inputs other than the images, by name.
    pub inputs: Given,
    /// How recoverability is measured.
    pub recoverability: RecoverabilityConfig,
    /// How blocks are selected by their scores.
    pub selection: SelectionMode,
    /// Minimum quality of the recovered student; if it is not reached, fewer blocks are dropped.
    pub quality_floor: Option<QualityFloor>,
    /// Names of blocks that must not be dropped.
    pub exclude_blocks: Vec<String>,
    /// How the student recovers. With `null` it does not, and blocks are ranked by their plain drop. With 0 steps it is
    /// refitted in closed form and not trained.
    #[serde(deserialize_with = "recipe::explicit_null")]
    pub finetune: Finetuning,
    /// Engine, batch and threads of latency measurements.
    pub latency: LatencyConfig,
    /// Seed of every random choice; the same seed gives the same choices.
    pub seed: u64,
}

/// Raise this whenever the score of a block changes, so that scores of older versions are not reused.
const SCORING: u32 = 2;

impl JobConfig {
    /// Everything that a block's score depends on except the network and the images, as text: equal texts mean equal scores.
    pub fn scoring(&self) -> String {
        let Self { preprocess, inputs, recoverability, seed, .. } = self;
        let version = (env!("CARGO_PKG_VERSION"), SCORING);
        let wishes = (version, preprocess, inputs, recoverability, seed);
        serde_json::to_string(&wishes).unwrap_or_default()
    }
}

/// When to stop dropping blocks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Measured latency reduction, above 0 and below 1.
    LatencyReduction(f64),
    /// Measured median latency in milliseconds.
    LatencyMs(f64),
    /// Number of blocks (the paper's k).
    Blocks(usize),
}

impl Default for Target {
    fn default() -> Self {
        Self::LatencyReduction(0.2)
    }
}

/// How recoverability is measured (paper §3.2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecoverabilityConfig {
    /// What is fitted.
    pub method: RecoverabilityMethod,
    /// Steps of SGD per block, for adapters; at least 1.
    pub iterations: u32,
}

impl Default for RecoverabilityConfig {
    fn default() -> Self {
        Self { method: RecoverabilityMethod::default(), iterations: 1000 }
    }
}

/// What is fitted to measure recoverability.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecoverabilityMethod {
    /// The layer that writes the stream ahead of the gap, by least squares.
    #[default]
    ClosedForm,
    /// The paper's: 1×1 adapters by SGD.
    Adapters,
}

/// How blocks are selected by their scores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SelectionMode {
    /// Rank once.
    #[default]
    OneShot,
    /// Score the remaining blocks again after each drop.
    Iterative,
}

/// Minimum quality of a recovered student.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QualityFloor {
    /// Minimum share of the validation images on which student and teacher predict the same class, above 0 and at most 1.
    pub agreement: f64,
}
