//! What steps hand on to others.

use serde::{Deserialize, Serialize};

use crate::spec::report::{FinetuneReport, GivenUp, OutputQuality, Quality, Top1};

/// What fine-tuning brought.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FinetuneSummary {
    /// Names of the blocks that went: those that were chosen, or fewer where a quality was asked for.
    pub dropped: Vec<String>,
    /// Larger sets that did not reach the quality asked for.
    #[serde(default)]
    pub given_up: Vec<GivenUp>,
    /// The student as dropped.
    pub before: Quality,
    /// The recovered student, as it was when it had not seen the images that this is measured on.
    pub after: Quality,
    /// The refitted student, before any training; `None` if nothing was refitted.
    #[serde(default)]
    pub refit: Option<Quality>,
    /// Every output by itself.
    #[serde(default)]
    pub outputs: Vec<OutputQuality>,
    /// Accuracy on the labelled images among those that decide.
    pub top1: Option<Top1>,
    /// What the recipe did; `None` where none was asked for, or nothing was dropped.
    pub report: Option<FinetuneReport>,
    /// Largest difference between the exported file and the student in memory, relative to the output's scale.
    pub export_difference: f64,
    /// Images that the teacher was asked about.
    pub teacher_forwards: u64,
    /// Seconds it took.
    pub seconds: f64,
}

/// The students of a job, as ONNX.
#[derive(Debug, Clone, Copy)]
pub struct Students<'a> {
    /// What is delivered.
    pub student: &'a [u8],
    /// As dropped.
    pub before_finetune: &'a [u8],
    /// As refitted, before any training; `None` if nothing was refitted.
    pub refit: Option<&'a [u8]>,
}
