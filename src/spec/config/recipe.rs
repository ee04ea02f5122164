//! How a student recovers, as a job asks for it.

use serde::{Deserialize, Serialize};

/// Fine-tuning, or none.
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
    /// Which recipe.
    pub recipe: Recipe,
    /// Optimiser steps; with 0, what the recipe refits in closed form is all that is done. `None` is what the recipe takes at
    /// the images' size ([`FinetuneConfig::steps_at`]).
    pub steps: Option<u32>,
    /// Whether the images of a batch are mixed with each other.
    pub mixing: bool,
    /// Whether the outputs of the blocks on the way are to meet the teacher's at first; not for the paper's recipe.
    pub hints: bool,
    /// What the steps compute in; `None` is what the device is fast in. Not for the paper's recipe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
    /// Parts of ours that are left out, to see what they bring; not for the paper's recipe.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub leave_out: Vec<Part>,
    /// Stops earlier, with the schedule squeezed to fit, when this many seconds are used up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_seconds: Option<u64>,
}

/// A part of the recipe `practised` that can be left out (mixing and hints have fields of their own).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The refitted start: the weights of the plain drop instead.
    Start,
    /// Relative Muon: the paper's SGD with momentum and weight decay instead, on the same schedule from twice the rate.
    Optimiser,
    /// BatchNormalization made for folded exports, and renewed around a refit: the network as it came instead.
    BatchNorm,
}

impl Default for FinetuneConfig {
    fn default() -> Self {
        FinetuneWishes::default().into()
    }
}

/// What a customer wrote: the number of steps and the mixing depend on the recipe.
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

/// Images of more pixels than these are large: a step on them takes many times as long, and the first hundred bring most of
/// what there is.
pub const LARGE: usize = 96 * 96;

impl FinetuneConfig {
    /// Whether this part of ours is wanted.
    pub fn has(&self, part: Part) -> bool {
        !self.leave_out.contains(&part)
    }

    /// Steps on images of so many pixels: those asked for, or what the recipe takes. Where pictures are `made`, alone or beside a
    /// handful of images, ours takes twice as many: they say less about the network, and more steps keep paying.
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

/// `"finetune": null` means none, where an absent field means the default.
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
    /// The upper half of it.
    Bfloat16,
}
