//! One job, step by step, one file each.
//!
//! 1. [`measure()`]: latency of the teacher and of every single drop, first because a block without measurable gain need
//!    not be scored, and alone on the host because everything else would be noise.
//! 2. [`score()`]: recoverability, block by block; independent of each other and of the measurement, so a pool of workers
//!    shares them.
//! 3. [`select()`]: by score, until the measured student meets the target.
//! 4. [`finetune()`]: feature distillation of the chosen student.
//! 5. [`export()`]: the file is read back, run and measured before anything is claimed.
//!
//! Each step's result is plain data, so that the steps of one job can run in different processes.

mod batch_independence;
mod export;
mod finetune;
mod measure;
mod results;
mod score;
mod select;
mod warnings;
mod workbench;
pub(crate) mod yielding_observer;

pub use export::{Artifact, Costs, Exported, export};
pub use finetune::{Finetuned, finetune};
pub use measure::measure;
pub use results::{FinetuneSummary, Students};
pub use score::score;
pub use select::{Selection, select};
pub use workbench::Bench;
