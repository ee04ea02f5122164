//! Teacher and student on the same images, the student from where it first differs.

use tch::{Kind, Tensor};

use crate::exec::{BatchNorm, Executor, RunOptions};

use super::CompressError;
use super::cut;
use super::distill::feature_loss;
use super::hints;
use super::recoverability::Setting;
use super::student::Student;

/// Teacher and student run one after the other. Ahead of the first difference the student *is* the teacher, so it starts
/// from the values that the teacher has computed there.
pub struct Pair {
    teacher: Executor,
    student: Executor,
    shared: Vec<String>,
    /// Taps of the student; what either network is asked for beyond them are hints.
    taps: usize,
}

impl Pair {
    /// For a student whose nodes ahead of `first` are the teacher's, weights included; `hints` are values of both networks.
    pub fn plan(setting: &Setting, student: &Student, first: usize, hints: &[String]) -> Result<Self, CompressError> {
        let shared = cut::values_at(&student.graph, first, &student.taps);
        let of_teacher: Vec<String> = shared.iter().chain(&setting.teacher.taps).chain(hints).cloned().collect();
        let of_student: Vec<String> = student.taps.iter().chain(hints).cloned().collect();
        let input = setting.network.input.name.as_str();
        Ok(Self {
            teacher: Executor::new(&setting.network.graph, &[input], &names(&of_teacher))?,
            student: Executor::new(&student.graph, &names(&shared), &names(&of_student))?,
            taps: student.taps.len(),
            shared,
        })
    }

    /// The feature loss on these views, (n, C, H, W), and `hints` times that of the hints, in the features' scale;
    /// BatchNormalization uses its running statistics.
    pub fn loss(
        &self,
        setting: &Setting,
        student: &Student,
        views: &Tensor,
        hints: f64,
    ) -> Result<Tensor, CompressError> {
        let options = RunOptions { batch_norm: BatchNorm::Running };
        let views = views.f_to_device(student.params.device())?;
        let mut from_teacher = tch::no_grad(|| {
            self.teacher.run(&setting.teacher.params, &[(&setting.network.input.name, &views)], &options)
        })?;
        let features = from_teacher.split_off(self.shared.len());
        let fed: Vec<(&str, &Tensor)> = self.shared.iter().map(String::as_str).zip(&from_teacher).collect();
        let from_student = self.student.run(&student.params, &fed, &options)?;
        let loss = feature_loss(&from_student[..self.taps], &features[..self.taps])?;
        match hints::loss(&from_student[self.taps..], &features[self.taps..])? {
            Some(of_hints) => Ok(loss + of_hints * features[0].f_square()?.f_mean(Kind::Float)? * hints),
            None => Ok(loss),
        }
    }
}

fn names(values: &[String]) -> Vec<&str> {
    values.iter().map(String::as_str).collect()
}
