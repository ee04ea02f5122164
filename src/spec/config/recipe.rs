//! Settings of a student's recovery.

use serde::{Deserialize, Serialize};

/// Settings of fine-tuning; `None` leaves the student without recovery.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Finetuning(pub Option<FinetuneConfig>);

impl Default for Finetuning {
    fn default() -> Self {
        Self(Some(FinetuneConfig::default()))
    }
}

/// How the student recovers (paper §3.3).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "FinetuneWishes")]
pub struct FinetuneConfig {
    /// The recipe; the defaults of other fields depend on it.
    pub recipe: Recipe,
    /// Optimiser steps; 0 refits in closed form and does not train. `None` uses the recipe's default for the images' size
    /// ([`FinetuneConfig::steps_at`]).
    pub steps: Option<u32>,
    /// Whether the images of a batch are mixed with each other.
    pub mixing: bool,
    /// Whether the outputs of the remaining blocks are part of the loss at first; not with the paper's recipe.
    pub hints: bool,
    /// Number format of the steps; `None` selects the device's fastest one. Not with the paper's recipe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
    /// Parts of our recipe to leave out, to measure their effect; not with the paper's recipe.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub leave_out: Vec<Part>,
    /// Time limit in seconds; the schedule is shortened to fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_seconds: Option<u64>,
}

/// A part of the recipe `practised` that can be left out (mixing and hints have their own fields).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The refitted start; training starts from the weights of the plain drop instead.
    Start,
    /// Relative Muon; the paper's SGD with momentum and weight decay is used instead, on the same schedule at twice the rate.
    Optimiser,
    /// BatchNormalizations that are added to folded exports and updated around a refit; the network is trained unchanged
    /// instead.
    BatchNorm,
}

impl Default for FinetuneConfig {
    fn default() -> Self {
        FinetuneWishes::default().into()
    }
}

/// The fields as the customer wrote them; the defaults of some depend on the recipe.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct FinetuneWishes {
    recipe: Recipe,
    steps: Option<u32>,
    mixing: Option<bool>,
    hints: Option<bool>,
    precision: Option<Precision>,
    leave_out: Vec<Part>,
    budget_seconds: Option<u64>,
}

impl From<FinetuneWishes> for FinetuneConfig {
    fn from(wishes: FinetuneWishes) -> Self {
        Self {
            recipe: wishes.recipe,
            steps: wishes.steps,
            mixing: wishes.mixing.unwrap_or(wishes.recipe == Recipe::Practised),
            hints: wishes.hints.unwrap_or(wishes.recipe == Recipe::Practised),
            precision: wishes.precision,
            leave_out: wishes.leave_out,
            budget_seconds: wishes.budget_seconds,
        }
    }
}

/// Images with more pixels are large: a step takes many times as long, and the first hundred steps bring most of the recovery.
pub const LARGE: usize = 96 * 96;

impl FinetuneConfig {
    /// Whether this part of our recipe is used.
    pub fn has(&self, part: Part) -> bool {
        !self.leave_out.contains(&part)
    }

    /// Steps on images with this number of pixels: the job's setting, or the recipe's default. With synthetic images (`made`),
    /// alone or in addition to a handful of real ones, our recipe takes twice as many, because more steps keep lowering the
    /// loss.
    pub fn steps_at(&self, pixels: usize, made: bool) -> u32 {
        let usual = match self.recipe {
            Recipe::Practised if pixels > LARGE => 120,
            Recipe::Practised => 450,
            Recipe::Paper => return self.steps.unwrap_or(2000),
        };
        self.steps.unwrap_or(if made { 2 * usual } else { usual })
    }
}

/// A fine-tuning recipe.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recipe {
    /// Refitted start, relative Muon on mixed views, BatchNormalization frozen.
    #[default]
    Practised,
    /// The paper's: SGD with momentum from the original weights, BatchNormalization in training mode.
    Paper,
}

/// `"finetune": null` means no recovery; an absent field means the default.
pub(super) fn explicit_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Finetuning, D::Error> {
    Option::<FinetuneConfig>::deserialize(deserializer).map(Finetuning)
}

/// A floating-point format.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// IEEE 754 single precision.
    #[default]
    Float32,
    /// bfloat16, the upper 16 bits of a float32.
    Bfloat16,
}
