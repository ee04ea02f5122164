//! The phase of a running job.

use serde::{Deserialize, Serialize};

/// Phase of a running job, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Decoding the model, finding blocks; creating synthetic images if none were given.
    Analyse,
    /// Measuring the latency of the teacher and of every single drop.
    Measure,
    /// Computing the recoverability of each block.
    Score,
    /// Selecting blocks; measuring the latency of sets of them.
    Select,
    /// Feature distillation.
    Finetune,
    /// Writing the student.
    Export,
    /// Reading it back, running it in ONNX Runtime, measuring it.
    Verify,
}

impl Phase {
    /// The name in JSON and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Analyse => "analyse",
            Self::Measure => "measure",
            Self::Score => "score",
            Self::Select => "select",
            Self::Finetune => "finetune",
            Self::Export => "export",
            Self::Verify => "verify",
        }
    }
}
