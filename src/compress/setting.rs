//! The context of every fit: the teacher, the images, and the teacher's outputs for them.

use tch::Tensor;

use super::CompressError;
use super::quality::loss::{evaluate, mean};
use super::quality::relative::{constant_loss, share};
use super::samples::Samples;
use super::student::Student;
use super::student::forward::Answers;
use crate::exec::Device;
use crate::network::Network;
use crate::spec::report::{Interval, Loss};

/// Maximum number of fitted images on which the reported loss is measured; selection does not use it.
const FIT_SHOWN: usize = 32;

/// Teacher, images and the teacher's outputs for them.
pub struct Setting<'a> {
    /// The teacher.
    pub network: &'a Network,
    /// The teacher's weights.
    pub teacher: &'a Student,
    /// The tiny set.
    pub samples: &'a Samples,
    /// The teacher's outputs for the fitted images.
    pub fit: &'a Answers,
    /// The teacher's outputs for the held-out images, if there are any.
    pub held_out: Option<&'a Answers>,
    /// Device to compute on.
    pub device: Device,
    /// Seed of the job.
    pub seed: u64,
}

impl Setting<'_> {
    /// Loss of a student on both parts of the tiny set.
    pub fn loss(&self, student: &Student) -> Result<Loss, CompressError> {
        let shown = &self.samples.fit[..self.samples.fit.len().min(FIT_SHOWN)];
        let fit = evaluate(self.network, student, self.fit, self.samples, shown)?;
        let held_out = self.held_out.map(|_| self.losses_deciding(student)).transpose()?;
        let deciding = held_out.as_ref().unwrap_or(&fit);
        // For fitted images, only the first ones were evaluated.
        let asked = |tap: &Tensor| tap.f_narrow(0, 0, deciding.len() as i64);
        let features = self.deciding().features.iter().map(asked).collect::<Result<Vec<_>, _>>()?;
        Ok(Loss {
            fit: mean(&fit),
            held_out: held_out.as_deref().map(mean),
            interval: Interval::of_mean(deciding),
            share: share(mean(deciding), constant_loss(&features)?),
        })
    }

    /// Loss of a student on the validation images.
    pub fn loss_deciding(&self, student: &Student) -> Result<f64, CompressError> {
        Ok(mean(&self.losses_deciding(student)?))
    }

    fn losses_deciding(&self, student: &Student) -> Result<Vec<f64>, CompressError> {
        evaluate(self.network, student, self.deciding(), self.samples, self.samples.deciding())
    }

    /// The teacher's outputs for the validation images.
    pub fn deciding(&self) -> &Answers {
        self.held_out.unwrap_or(self.fit)
    }
}
