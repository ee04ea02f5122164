//! The images of a job, with pictures made in their place or beside them where they do not do by themselves.

pub mod synthesis;
pub mod tiny_set;

use tch::Tensor;

use self::synthesis::Synthesis;
use self::tiny_set::TinySet;
use super::student::forward::{Answers, Forward};
use crate::compress::CompressError;
use crate::compress::observer::Observer;
use crate::compress::quality::{self, Sight};
use crate::compress::samples::{Samples, grey};
use crate::compress::student::Student;
use crate::exec::memory;
use crate::images::{Chw, ImageSet, Preprocess};
use crate::network::Network;
use crate::spec::config::JobConfig;
use crate::spec::report::Rung;

/// What the images of a job are made with.
pub(crate) struct Studio<'a> {
    pub(crate) network: &'a Network,
    pub(crate) teacher: &'a Student,
    pub(crate) config: &'a JobConfig,
    pub(crate) size: Chw,
}

impl Studio<'_> {
    /// Pictures drawn by a program; some of them are changed until the teacher recognises them, those that decide first.
    pub(crate) fn made(&self, observer: &dyn Observer) -> Result<(TinySet, Samples), CompressError> {
        let seed = self.config.seed;
        let mut tiny = TinySet::drawn_alone(self.config, self.size, |set, how| self.classes(set, how))?;
        let mut samples = Samples::new(&tiny.images, &tiny.preprocess, self.size, seed)?;
        samples.made = true;
        let mut changed = [samples.held_out.as_slice(), &samples.fit].concat();
        changed.truncate(tiny_set::recognised(self.size).max(samples.held_out.len()));
        if self.recognise(&mut samples, &tiny.preprocess, &changed, observer)? {
            tiny.rung = Rung::Synthesised;
        }
        Ok((tiny, samples))
    }

    /// The images with pictures beside them.
    pub(crate) fn beside(&self, given: &Samples, observer: &dyn Observer) -> Result<Samples, CompressError> {
        if given.held_out.is_empty() {
            return self.beside_few(given);
        }
        given.beside(&self.made(observer)?.1)
    }

    /// A handful of images with pictures drawn beside them, and mixtures to decide by.
    fn beside_few(&self, given: &Samples) -> Result<Samples, CompressError> {
        let seed = self.config.seed;
        let beside = TinySet::beside(self.config, self.size, |set, how| self.classes(set, how))?;
        let drawn = Samples::new(&beside.images, &beside.preprocess, self.size, seed)?;
        given.with_mixtures(&drawn.images, seed)
    }

    /// Changes these of the drawn pictures until the teacher recognises them; false where it tells no classes.
    fn recognise(
        &self,
        pictures: &mut Samples,
        preprocess: &Preprocess,
        changed: &[i64],
        observer: &dyn Observer,
    ) -> Result<bool, CompressError> {
        let range = range(preprocess, self.size.channels);
        let Some(synthesis) = Synthesis::of(self.network, self.teacher, &range, &pictures.images)? else {
            return Ok(false);
        };
        let shown = pictures.select(changed)?;
        let seed = self.config.seed;
        let recognised = synthesis.recognised(&shown, memory::part_of(pictures.mixed_batch() / 2), seed, observer)?;
        pictures.replace(changed, &recognised)?;
        Ok(true)
    }

    /// What the teacher answers, (n, classes), about the images of a set.
    fn classes(&self, set: &ImageSet, preprocess: &Preprocess) -> Result<Tensor, CompressError> {
        let all = Samples::new(set, preprocess, self.size, self.config.seed)?;
        let indices: Vec<i64> = (0..set.len() as i64).collect();
        Ok(Forward::answers(self.network, self.teacher)?.all(&self.teacher.params, &all, &indices)?.output)
    }
}

/// Shares of what there is to know about the images that a network's answers tell: below the second, and unsure, it was trained on
/// other images. ResNet-20 for CIFAR-10 tells 0.90 of CIFAR-10, 0.59 of photographs, 0.40 of clothes; EfficientNet-Lite0 for
/// ImageNet 0.66 of photographs, 0.24 of CIFAR-10, 0.17 of clothes. Below the first it tells nothing of anything, and would not
/// recognise made pictures either.
const TOLD_APART: std::ops::Range<f64> = 0.05..0.45;

/// From here on a network is unsure of images: it is not of many images of one class that it knows.
const UNSURE: f64 = 0.25;

/// Why given images do not do by themselves, many as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shortcoming {
    /// They have no colour though the network takes it.
    Colourless,
    /// The network hardly tells them apart.
    NotToldApart,
}

impl Shortcoming {
    /// Of given images that the teacher has answered about, with `classes` or something else.
    pub(crate) fn of(
        samples: &Samples,
        preprocess: &Preprocess,
        answers: &Answers,
        classes: bool,
    ) -> Result<Option<Self>, CompressError> {
        let white = range(preprocess, samples.black.len()).white;
        let foreign = |sight: Sight| TOLD_APART.contains(&sight.told_apart) && sight.unsure >= UNSURE;
        Ok(match samples.colourless(&white)? {
            true => Some(Self::Colourless),
            false if !classes => None,
            false => quality::sight(&answers.output)?.is_some_and(foreign).then_some(Self::NotToldApart),
        })
    }
}

/// What black and white pixels become.
fn range(preprocess: &Preprocess, channels: usize) -> synthesis::Range {
    let grey = |value| grey(preprocess, channels, value);
    synthesis::Range { black: grey(0.0), white: grey(f64::from(preprocess.white())) }
}
