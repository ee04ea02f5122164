//! Synthetic images: in place of a job's images if there are none, or in addition if they are insufficient.

pub mod synthesis;
pub mod tiny_set;

use tch::Tensor;

use self::synthesis::Synthesis;
use self::tiny_set::TinySet;
use super::student::forward::{Answers, Forward};
use crate::compress::CompressError;
use crate::compress::observer::Observer;
use crate::compress::quality::{self, Discrimination};
use crate::compress::samples::{Samples, grey};
use crate::compress::student::Student;
use crate::exec::memory;
use crate::images::{Chw, ImageSet, Preprocess};
use crate::network::Network;
use crate::spec::config::JobConfig;
use crate::spec::report::ImageSource;

/// Everything that synthetic images are created from.
pub(crate) struct PictureMaker<'a> {
    pub(crate) network: &'a Network,
    pub(crate) teacher: &'a Student,
    pub(crate) config: &'a JobConfig,
    pub(crate) size: Chw,
}

impl PictureMaker<'_> {
    /// Procedural images; some of them, validation images first, are optimised until the teacher recognises them.
    pub(crate) fn made(&self, observer: &dyn Observer) -> Result<(TinySet, Samples), CompressError> {
        let seed = self.config.seed;
        let mut tiny = TinySet::drawn_alone(self.config, self.size, |set, how| self.classes(set, how))?;
        let mut samples = Samples::new(&tiny.images, &tiny.preprocess, self.size, seed)?;
        samples.made = true;
        let mut changed = [samples.held_out.as_slice(), &samples.fit].concat();
        changed.truncate(tiny_set::recognised(self.size).max(samples.held_out.len()));
        if self.recognise(&mut samples, &tiny.preprocess, &changed, observer)? {
            tiny.rung = ImageSource::Synthesised;
        }
        Ok((tiny, samples))
    }

    /// The given images with synthetic ones added.
    pub(crate) fn beside(&self, given: &Samples, observer: &dyn Observer) -> Result<Samples, CompressError> {
        if given.held_out.is_empty() {
            return self.beside_few(given);
        }
        given.beside(&self.made(observer)?.1)
    }

    /// A handful of images with procedural images added, and mixtures as validation images.
    fn beside_few(&self, given: &Samples) -> Result<Samples, CompressError> {
        let seed = self.config.seed;
        let beside = TinySet::beside(self.config, self.size, |set, how| self.classes(set, how))?;
        let drawn = Samples::new(&beside.images, &beside.preprocess, self.size, seed)?;
        given.with_mixtures(&drawn.images, seed)
    }

    /// Optimises some procedural images until the teacher recognises them; false if it has neither classes nor statistics.
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

    /// The teacher's output, (n, classes), for the images of a set.
    fn classes(&self, set: &ImageSet, preprocess: &Preprocess) -> Result<Tensor, CompressError> {
        let all = Samples::new(set, preprocess, self.size, self.config.seed)?;
        let indices: Vec<i64> = (0..set.len() as i64).collect();
        Ok(Forward::answers(self.network, self.teacher)?.all(&self.teacher.params, &all, &indices)?.output)
    }
}

/// Range of the normalised mutual information between images and outputs in which a network, if it is also uncertain, was
/// trained on other images. Measured: ResNet-20 for CIFAR-10 has 0.90 on CIFAR-10, 0.59 on photographs, 0.40 on clothes;
/// EfficientNet-Lite0 for ImageNet 0.66 on photographs, 0.24 on CIFAR-10, 0.17 on clothes. Below the range, a network
/// distinguishes nothing, and would not recognise synthetic images either.
const TOLD_APART: std::ops::Range<f64> = 0.05..0.45;

/// Mean normalised entropy from which a network is uncertain about images; for many images of one known class it is lower.
const UNSURE: f64 = 0.25;

/// Why given images are insufficient although there are many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ImageProblem {
    /// They have no colour, but the network takes colour.
    Colourless,
    /// The network hardly distinguishes them.
    NotToldApart,
}

impl ImageProblem {
    /// Checks given images by the teacher's outputs, which are `classes` or not.
    pub(crate) fn of(
        samples: &Samples,
        preprocess: &Preprocess,
        answers: &Answers,
        classes: bool,
    ) -> Result<Option<Self>, CompressError> {
        let white = range(preprocess, samples.black.len()).white;
        let foreign =
            |sight: Discrimination| TOLD_APART.contains(&sight.mutual_information) && sight.mean_entropy >= UNSURE;
        Ok(match samples.colourless(&white)? {
            true => Some(Self::Colourless),
            false if !classes => None,
            false => quality::sight(&answers.output)?.is_some_and(foreign).then_some(Self::NotToldApart),
        })
    }
}

/// The values of black and white pixels after preprocessing.
fn range(preprocess: &Preprocess, channels: usize) -> synthesis::Range {
    let grey = |value| grey(preprocess, channels, value);
    synthesis::Range { black: grey(0.0), white: grey(f64::from(preprocess.white())) }
}
