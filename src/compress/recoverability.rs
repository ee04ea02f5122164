//! Recoverability of one block (method §4, paper §3.2): the feature loss that is left when the block is gone and what is
//! around it is fitted: adapters, as in the paper, or a layer in closed form. Lower is better: some blocks hurt when
//! removed and yet come back easily.

use tch::Tensor;

use crate::exec::{Device, memory};
use crate::graph::Node;

use super::adapter::{self, Adapter};
use super::augment::Cut;
use super::distill::{self, Answers, Forward, mean};
use super::merge::merge;
use super::observer::Observer;
use super::pair::Pair;
use super::random::stream;
use super::refit::{Frontier, start};
use super::relative::{constant_loss, share};
use super::samples::{Batches, Samples};
use super::sgd::{Sgd, learning_rate};
use super::student::{Student, stream_of};
use super::{CompressError, sites};
use crate::network::Network;
use crate::network::blocks::Block;
use crate::spec::config::Precision;
use crate::spec::report::{Interval, Loss};

/// Largest difference that merging may make, relative to the features' scale.
const MERGE_TOLERANCE: f64 = 1e-4;

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

/// What fitting around one block brought.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted {
    /// With the adapters fitted and merged, or the layer refitted.
    pub recovered: Loss,
    /// Of the plain drop.
    pub plain: Loss,
    /// Number of adapters.
    pub adapters: usize,
    /// Images that the teacher was asked about.
    pub teacher_forwards: u64,
}

/// Fits adapters around a block for some steps of SGD and measures what loss is left without it and what is `gone` already.
pub fn by_adapters(
    setting: &Setting,
    gone: &[&Block],
    block: &Block,
    iterations: u32,
    observer: &dyn Observer,
) -> Result<Fitted, CompressError> {
    let dropped = with(gone, block);
    let plain = Student::dropped(setting.network, &dropped, setting.device)?;
    let plain_loss = setting.loss(&plain)?;
    let mut sites = Vec::new();
    for site in block.places().flat_map(|place| sites::find(&plain, stream_of(&dropped, place))) {
        if !sites.contains(&site) {
            sites.push(site);
        }
    }
    let (mut adapted, adapters) = adapter::insert(&plain, &sites)?;
    let mut fitted = Fitted { recovered: plain_loss, plain: plain_loss, adapters: adapters.len(), teacher_forwards: 0 };
    if !adapters.is_empty() && iterations > 0 {
        fitted.teacher_forwards = fit(setting, block, &mut adapted, &adapters, iterations, observer)?;
        let merged = merge(&plain, &adapted, &adapters)?;
        check_merge(setting, &adapted, &merged)?;
        fitted.recovered = setting.loss(&merged)?;
    }
    Ok(fitted)
}

/// Refits the layer ahead of a block in closed form, and those ahead of what is `gone` already, and measures what loss
/// is left. `teacher` is how far it has been computed on the images of this setting: blocks that are scored in depth order share
/// one pass over it.
pub fn by_closed_form(
    setting: &Setting,
    gone: &[&Block],
    block: &Block,
    teacher: &mut Frontier,
    observer: &dyn Observer,
) -> Result<Fitted, CompressError> {
    let dropped = with(gone, block);
    let plain = Student::dropped(setting.network, &dropped, setting.device)?;
    let plain_loss = setting.loss(&plain)?;
    let refitted = start::around_gaps(setting, plain, &dropped, teacher, observer)?;
    let recovered = if refitted.refitted.is_empty() { plain_loss } else { setting.loss(&refitted.student)? };
    // Each pass over the images fitted on asks the teacher for the value behind the block.
    let teacher_forwards = 2 * setting.samples.fit.len() as u64;
    Ok(Fitted { recovered, plain: plain_loss, adapters: 0, teacher_forwards })
}

fn with<'b>(gone: &[&'b Block], block: &'b Block) -> Vec<&'b Block> {
    gone.iter().copied().chain([block]).collect()
}

impl Setting<'_> {
    /// Loss of a student on both parts of the tiny set.
    pub fn loss(&self, student: &Student) -> Result<Loss, CompressError> {
        let shown = &self.samples.fit[..self.samples.fit.len().min(FIT_SHOWN)];
        let fit = distill::evaluate(self.network, student, self.fit, self.samples, shown)?;
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
        distill::evaluate(self.network, student, self.deciding(), self.samples, self.samples.deciding())
    }

    /// The teacher's answers about the images that choices go by.
    pub fn deciding(&self) -> &Answers {
        self.held_out.unwrap_or(self.fit)
    }
}

/// The paper's loop: all weights frozen, BatchNormalization on its running statistics, a fresh view of every image. Gives
/// the number of images that the teacher was asked about.
fn fit(
    setting: &Setting,
    block: &Block,
    adapted: &mut Student,
    adapters: &[Adapter],
    iterations: u32,
    observer: &dyn Observer,
) -> Result<u64, CompressError> {
    let names: Vec<&str> = adapters.iter().map(|adapter| adapter.weight.as_str()).collect();
    let mut sgd = Sgd::new(adapted.params.trainable(&names)?);
    let is_adapter = |node: &Node| node.input(1).is_some_and(|weight| names.contains(&weight));
    let first = adapted.graph.nodes.iter().position(is_adapter).unwrap_or(0);
    let pair = Pair::plan(setting, adapted, first, &[], Precision::Float32)?;
    let purpose = format!("score/{}", block.name);
    let mut batches = Batches::new(
        &setting.samples.fit,
        memory::part_of(setting.samples.paper_batch()),
        stream(setting.seed, &format!("{purpose}/batches")),
    );
    let mut random = stream(setting.seed, &format!("{purpose}/views"));
    let mut asked = 0;
    for iteration in 0..iterations {
        observer.check()?;
        let views = setting.samples.views(batches.next_batch(), Cut::Paper, &mut random)?;
        let loss = pair.loss(&adapted.params, &views, 0.0)?;
        sgd.step(&loss, learning_rate(f64::from(iteration) / f64::from(iterations)))?;
        asked += views.size()[0] as u64;
    }
    Ok(asked)
}

/// Merging is exact; a difference beyond rounding would be a bug, and would make every later figure wrong.
fn check_merge(setting: &Setting, adapted: &Student, merged: &Student) -> Result<(), CompressError> {
    let few = &setting.samples.fit[..setting.samples.fit.len().min(8)];
    let features = |student: &Student| -> Result<Vec<Tensor>, CompressError> {
        Ok(Forward::features(setting.network, student)?.all(&student.params, setting.samples, few)?.features)
    };
    for (before, after) in features(adapted)?.iter().zip(&features(merged)?) {
        let difference = relative_difference(before, after)?;
        if difference.is_nan() || difference > MERGE_TOLERANCE {
            return Err(CompressError::MergeDiffers { difference, allowed: MERGE_TOLERANCE });
        }
    }
    Ok(())
}

/// Largest difference of two tensors, relative to the first one's largest finite element. No difference where both are infinite
/// alike or both no number, as behind a mask; no number or infinite where only one of them is.
pub fn relative_difference(reference: &Tensor, other: &Tensor) -> Result<f64, CompressError> {
    difference_on_a_scale(reference, other, f64::MIN_POSITIVE)
}

/// The same, relative to `least` where no element is as large as that.
pub fn difference_on_a_scale(reference: &Tensor, other: &Tensor, least: f64) -> Result<f64, CompressError> {
    let finite = reference.f_masked_fill(&reference.f_isfinite()?.f_logical_not()?, 0.0)?;
    let scale = finite.f_abs()?.f_max()?.f_double_value(&[])?.max(least);
    let no_numbers = reference.f_isnan()?.f_logical_and(&other.f_isnan()?)?;
    let alike = reference.f_eq_tensor(other)?.f_logical_or(&no_numbers)?;
    let apart = reference.f_sub(other)?.f_abs()?.f_masked_fill(&alike, 0.0)?;
    Ok(apart.f_max()?.f_double_value(&[])? / scale)
}
