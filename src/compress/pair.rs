//! Teacher and student on the same images, the student from where it first differs.

use tch::Tensor;

use crate::exec::{BatchNorm, Executor, RunOptions};

use super::CompressError;
use super::cut;
use super::distill::feature_loss;
use super::recoverability::Setting;
use super::student::Student;

/// Teacher and student run one after the other. Ahead of the first difference the student *is* the teacher, so it starts
/// from the values that the teacher has computed there.
pub struct Pair {
    teacher: Executor,
    student: Executor,
    shared: Vec<String>,
}

impl Pair {
    /// For a student whose nodes ahead of `first` are the teacher's, weights included.
    pub fn plan(setting: &Setting, student: &Student, first: usize) -> Result<Self, CompressError> {
        let shared = cut::values_at(&student.graph, first, &student.taps);
        let wanted: Vec<String> = shared.iter().chain(&setting.teacher.taps).cloned().collect();
        let input = setting.network.input.name.as_str();
        Ok(Self {
            teacher: Executor::new(&setting.network.graph, &[input], &names(&wanted))?,
            student: Executor::new(&student.graph, &names(&shared), &names(&student.taps))?,
            shared,
        })
    }

    /// The feature loss on these views, (n, C, H, W); BatchNormalization uses its running statistics.
    pub fn loss(&self, setting: &Setting, student: &Student, views: &Tensor) -> Result<Tensor, CompressError> {
        let options = RunOptions { batch_norm: BatchNorm::Running };
        let views = views.f_to_device(student.params.device())?;
        let mut from_teacher = tch::no_grad(|| {
            self.teacher.run(&setting.teacher.params, &[(&setting.network.input.name, &views)], &options)
        })?;
        let features = from_teacher.split_off(self.shared.len());
        let fed: Vec<(&str, &Tensor)> = self.shared.iter().map(String::as_str).zip(&from_teacher).collect();
        feature_loss(&self.student.run(&student.params, &fed, &options)?, &features)
    }
}

fn names(values: &[String]) -> Vec<&str> {
    values.iter().map(String::as_str).collect()
}
