//! The report on recovery.

use serde::{Deserialize, Serialize};

use super::figure::Figure;
use crate::spec::config::{Precision, Recipe};

/// A set of blocks whose student did not reach `quality_floor`.
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
    /// Whether the outputs of the remaining blocks were part of the loss; also false if training with them lowered nothing and
    /// was repeated without them.
    #[serde(default)]
    pub hints: bool,
    /// Number format of the steps.
    #[serde(default)]
    pub precision: Precision,
    /// Planned number of steps.
    pub steps: u32,
    /// Steps of the run that the figures come from.
    pub steps_run: u32,
    /// Layers refitted in closed form before the first step; absent if the recipe refits nothing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub refit: Option<RefitReport>,
    /// Selected learning rate, if the recipe selects one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub learning_rate: Option<f64>,
    /// Learning rates that were tried and discarded, because the loss rose or another rate promised a lower validation loss.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub learning_rates_undone: Vec<f64>,
    /// True if the delivered student was fitted on all images at the end: the quality figures come from the run that did not
    /// see the held-out ones.
    #[serde(default)]
    pub fitted_on_all_images: bool,
    /// True if no step lowered the validation loss of the start: the student is the start.
    pub recovery_rolled_back: bool,
    /// True if the student is the plain drop because only synthetic images could validate, and their loss fell too little.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gain_doubted: bool,
    /// Number of BatchNormalizations added to a folded export; they are folded back in the student.
    pub batch_norms_made: usize,
    /// Validation loss during training, from step 0 on.
    pub history: Vec<HistoryPoint>,
}

/// Layers refitted in closed form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RefitReport {
    /// First outputs of the layers that were refitted.
    pub refitted: Vec<String>,
    /// Number of refits that did not lower the validation loss and were discarded.
    pub undone: usize,
    /// First outputs of layers that were not refitted because their kernel is also used in a place without a target to fit.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub left_shared: Vec<String>,
    /// Validation loss without refits.
    pub loss_before: f64,
    /// Validation loss with the refits.
    pub loss_after: f64,
}

/// Feature loss at one step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HistoryPoint {
    /// Number of steps done.
    pub step: u32,
    /// Validation loss, in evaluation mode.
    pub loss: f64,
    /// Seconds since the start.
    pub seconds: f64,
}
