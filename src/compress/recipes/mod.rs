//! Recovery by feature distillation (paper §3.3): the student's weights ahead of the head move until its features are the
//! teacher's again. Labels are never used. [`paper`] is the authors' recipe, [`practised`] is ours (method §6).

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

/// How often the images that decide are looked at during one run.
const CHECKPOINTS: u32 = 10;

/// A fine-tuned student.
pub struct Recovered {
    /// What is delivered, with made BatchNormalizations folded back.
    pub student: Student,
    /// What the quality figures are taken from, where that is another one: the run that had not seen the held-out images.
    pub measured: Option<Student>,
    /// As refitted, before the first step; `None` if nothing was refitted.
    pub refitted: Option<Student>,
    /// What happened.
    pub report: FinetuneReport,
    /// Images that the teacher was asked about.
    pub teacher_forwards: u64,
}

impl Recovered {
    /// The student that the quality figures are about.
    pub fn measured(&self) -> &Student {
        self.measured.as_ref().unwrap_or(&self.student)
    }
}
