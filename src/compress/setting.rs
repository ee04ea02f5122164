//! What every fit goes by: the teacher, the images, and the teacher's answers about them.

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

/// Fitted images, at most, on which the loss of a fit is measured: no choice goes by it.
const FIT_SHOWN: usize = 32;

/// Teacher, images and the teacher's answers about them.
pub struct Setting<'a> {
    /// The teacher.
    pub network: &'a Network,
    /// The teacher's weights.
    pub teacher: &'a Student,
    /// The tiny set.
    pub samples: &'a Samples,
    /// The teacher's answers about the images fitted on.
    pub fit: &'a Answers,
    /// The teacher's answers about the images held out, where there are any.
    pub held_out: Option<&'a Answers>,
    /// Where to compute.
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
        // Of images that are fitted on, no more than the shown ones were asked about.
        let asked = |tap: &Tensor| tap.f_narrow(0, 0, deciding.len() as i64);
        let features = self.deciding().features.iter().map(asked).collect::<Result<Vec<_>, _>>()?;
        Ok(Loss {
            fit: mean(&fit),
            held_out: held_out.as_deref().map(mean),
            interval: Interval::of_mean(deciding),
            share: share(mean(deciding), constant_loss(&features)?),
        })
    }

    /// Loss of a student on the images that choices go by.
    pub fn loss_deciding(&self, student: &Student) -> Result<f64, CompressError> {
        Ok(mean(&self.losses_deciding(student)?))
    }

    fn losses_deciding(&self, student: &Student) -> Result<Vec<f64>, CompressError> {
        evaluate(self.network, student, self.deciding(), self.samples, self.samples.deciding())
    }

    /// The teacher's answers about the images that choices go by.
    pub fn deciding(&self) -> &Answers {
        self.held_out.unwrap_or(self.fit)
    }
}
