//! What a job is busy with.

use serde::{Deserialize, Serialize};

/// What a job is busy with; the order is the order of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Decoding the model, finding blocks; making pictures where no image was given.
    Analyse,
    /// Latency of the teacher and of every single drop.
    Measure,
    /// Recoverability, block by block.
    Score,
    /// Which blocks go; latency of the assembled students.
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
