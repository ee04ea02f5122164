//! What recovery did.

use serde::{Deserialize, Serialize};

use super::figure::Figure;
use crate::spec::config::{Precision, Recipe};

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
