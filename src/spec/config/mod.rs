//! What a customer may ask for: parsed once, every default resolved, then trusted.

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

/// A job's wishes, without the model and the images. `Default` is what a customer gets who asks for nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JobConfig {
    /// From image files to the model's input.
    pub preprocess: Preprocess,
    /// When to stop dropping.
    pub target: Target,
    /// What the inputs beside the images are fed, by name.
    pub inputs: Given,
    /// How recoverability is measured.
    pub recoverability: RecoverabilityConfig,
    /// How blocks are chosen by their scores.
    pub selection: SelectionMode,
    /// How good the recovered student has to be; fewer blocks go where it is not.
    pub quality_floor: Option<QualityFloor>,
    /// Blocks that must stay, by name.
    pub exclude_blocks: Vec<String>,
    /// How the student recovers; `null` leaves it as dropped, and blocks are ranked by that. With 0 steps it is refitted in closed form
    /// and not trained.
    #[serde(deserialize_with = "recipe::explicit_null")]
    pub finetune: Finetuning,
    /// What latency means in this job.
    pub latency: LatencyConfig,
    /// Seed of every random choice; the same seed gives the same choices.
    pub seed: u64,
}

/// Raised whenever a block's score comes out differently: scores that an older program has left are not reused.
const SCORING: u32 = 2;

impl JobConfig {
    /// All that a block's score depends on beside the network and the images, as text: equal texts, equal scores.
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

/// How blocks are chosen by their scores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SelectionMode {
    /// Rank once.
    #[default]
    OneShot,
    /// Score what is left anew after each drop.
    Iterative,
}

/// How good a recovered student has to be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QualityFloor {
    /// Least share of the images that decide on which student and teacher pick the same top class, above 0 and at most 1.
    pub agreement: f64,
}
