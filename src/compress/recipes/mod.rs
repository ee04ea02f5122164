//! Recovery by feature distillation (paper §3.3): the student's weights ahead of the head move until its features are the
//! teacher's again. Labels are never used. [`paper`] is the authors' recipe, [`practised`] is ours (docs/method.md §6).

mod average;
mod optimiser;
pub mod paper;
pub mod practised;
mod prepared;
mod run;
mod timing;

use super::student::Student;
use crate::spec::report::FinetuneReport;

pub use paper::by_paper;
pub use practised::{by_practised, narrowed_by_practised};
pub use timing::{Phases, StepTimes, step_times};

/// Number of validations during one run.
const CHECKPOINTS: u32 = 10;

/// A fine-tuned student.
pub struct Recovered {
    /// The delivered student, with added BatchNormalizations folded back.
    pub student: Student,
    /// The student that quality is measured on, if it is another one: that of the run that did not see the held-out images.
    pub measured: Option<Student>,
    /// As refitted, before the first step; `None` if nothing was refitted.
    pub refitted: Option<Student>,
    /// The report on fine-tuning.
    pub report: FinetuneReport,
    /// Number of images that the teacher was evaluated on.
    pub teacher_forwards: u64,
}

impl Recovered {
    /// The student that the quality figures are about.
    pub fn measured(&self) -> &Student {
        self.measured.as_ref().unwrap_or(&self.student)
    }
}
