//! The tiny set as tensors: split into the images fitted on and those only measured on, walked through in batches.

pub mod cutmix;
mod send;
pub mod stock;
pub mod views;

use std::collections::HashSet;

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tch::{Kind, Tensor};

use self::cutmix::cutmix;
use self::views::Cut;
use super::CompressError;
use super::random::stream;
use crate::exec::memory;
use crate::images::{Batch, Chw, ImageSet, Preprocess};
use crate::spec::config::LARGE;

/// Images for one run of the networks; a bound on memory more than on speed.
const EVALUATION_PIXELS: usize = 64 * 64 * 64;

/// Preprocessed images, split by the job's seed into fitted and held-out ones.
pub struct Samples {
    /// All images, (N, C, H, W), on the CPU.
    pub images: Tensor,
    /// Indices of the images fitted on.
    pub fit: Vec<i64>,
    /// Indices of the images only measured on; empty with fewer than 16 different images.
    pub held_out: Vec<i64>,
    /// Number of duplicates after preprocessing, which are not used: a held-out one would be known from the fit.
    pub repeated: usize,
    /// Value of a black pixel in each channel after preprocessing, for padding.
    pub black: Vec<f64>,
    /// True if the held-out images are mixtures of the fitted ones: good enough for validation, not for quality figures.
    pub mixtures: bool,
    /// True if there are synthetic images among them.
    pub made: bool,
}

/// Number of mixtures to fit, in addition to the images, and of mixtures for validation, if no image can be held out.
const FITTED_MIXTURES: usize = 64;
const DECIDING_MIXTURES: usize = 32;

/// Mean difference of the channels of an image with colour, as a share of what they span: more than a grey photograph has from
/// being compressed.
const LEAST_COLOUR: f64 = 0.01;

/// Share of images with colour below which the set counts as colourless.
const MOST_COLOURED: f64 = 0.05;

/// In a run of more steps than this, more steps on fewer views each bring more than as many views in fewer steps.
const LONG_RUN: u32 = 900;
const VIEWS_OF_LONG_RUN: usize = 32;

/// Number of fitted images from which there are many.
const MANY_IMAGES: usize = 128;

impl Samples {
    /// Preprocesses a set to `size` and splits its different images: a fifth, at least 8, is held out if there are 16 or more.
    pub fn new(set: &ImageSet, preprocess: &Preprocess, size: Chw, seed: u64) -> Result<Self, CompressError> {
        let batch = set.tensor_data(preprocess, size)?;
        let mut order = different(&batch);
        let repeated = batch.n - order.len();
        order.shuffle(&mut stream(seed, "split"));
        let held = held_out_count(order.len());
        let (mut held_out, mut fit) = (order[..held].to_vec(), order[held..].to_vec());
        held_out.sort_unstable();
        fit.sort_unstable();
        let black = grey(preprocess, size.channels, 0.0);
        Ok(Self { images: to_tensor(&batch)?, fit, held_out, repeated, black, mixtures: false, made: false })
    }

    /// If no image is held out: the same images with procedural ones added, (n, C, H, W), and mixtures of all of them, some to
    /// fit and some for validation. A fit to a handful of images is perfect on them, however bad it is on others, so validation
    /// needs other images.
    pub fn with_mixtures(&self, drawn: &Tensor, seed: u64) -> Result<Self, CompressError> {
        let count = self.images.size()[0];
        let pictures: Vec<i64> = (count..count + drawn.size()[0]).collect();
        let images = Tensor::f_cat(&[&self.images, drawn], 0)?;
        // The given images have the same weight as the procedural ones together.
        let mut fit = self.fit.repeat((pictures.len() / self.fit.len().max(1)).max(1));
        fit.extend(pictures);
        let mut random = stream(seed, "mixtures");
        let mixtures = FITTED_MIXTURES + DECIDING_MIXTURES;
        let mut batches = Batches::repeating(&fit, mixtures, stream(seed, "mixed"));
        let chosen = Tensor::from_slice(&batches.next_batch()[..mixtures]);
        let views = views::views(&images.f_index_select(0, &chosen)?, Cut::Ours, &self.black, &mut random)?;
        let images = Tensor::f_cat(&[images, cutmix(&views, &mut random)?], 0)?;
        let all = images.size()[0];
        let fitted = all - DECIDING_MIXTURES as i64;
        fit.extend(fitted - FITTED_MIXTURES as i64..fitted);
        let held_out = (fitted..all).collect();
        let (repeated, black) = (self.repeated, self.black.clone());
        Ok(Self { images, fit, held_out, repeated, black, mixtures: true, made: true })
    }

    /// The same images with synthetic ones added, in both the fitted and the held-out part; no more of these images than of
    /// synthetic ones, in either part.
    pub fn beside(&self, made: &Self) -> Result<Self, CompressError> {
        let count = self.images.size()[0];
        let join = |own: &[i64], others: &[i64]| {
            let own = own.iter().copied().take(others.len());
            own.chain(others.iter().map(|at| at + count)).collect()
        };
        Ok(Self {
            images: Tensor::f_cat(&[&self.images, &made.images], 0)?,
            fit: join(&self.fit, &made.fit),
            held_out: join(&self.held_out, &made.held_out),
            repeated: self.repeated,
            black: self.black.clone(),
            mixtures: false,
            made: true,
        })
    }

    /// Whether hardly any image has colour although there are three channels. `white` is the value of a white pixel in each
    /// channel.
    pub fn colourless(&self, white: &[f64]) -> Result<bool, CompressError> {
        if self.black.len() != 3 {
            return Ok(false);
        }
        let per_channel = |values: &[f64]| Tensor::from_slice(values).to_kind(Kind::Float).f_view([1, 3, 1, 1]);
        let (black, white) = (per_channel(&self.black)?, per_channel(white)?);
        let levels = (&self.images - &black) / (white - black);
        let spread = levels.f_amax([1].as_slice(), false)? - levels.f_amin([1].as_slice(), false)?;
        let coloured = spread.f_mean_dim([1i64, 2].as_slice(), false, Kind::Float)?.f_gt(LEAST_COLOUR)?;
        Ok(coloured.f_mean(Kind::Float)?.f_double_value(&[])? < MOST_COLOURED)
    }

    /// The validation images: the held-out ones, or all fitted ones if none are held out.
    pub fn deciding(&self) -> &[i64] {
        if self.held_out.is_empty() { &self.fit } else { &self.held_out }
    }

    /// Some of the images, (n, C, H, W).
    pub fn select(&self, indices: &[i64]) -> Result<Tensor, CompressError> {
        Ok(self.images.f_index_select(0, &Tensor::from_slice(indices))?)
    }

    /// Images per training step of the paper's recipe: 64, fewer above 224 px so that activations with their gradients stay
    /// within what those take.
    pub fn paper_batch(&self) -> usize {
        (64 * 224 * 224 / self.pixels()).clamp(1, 64)
    }

    /// Mixed views at a time: the paper's number at low resolution (nearly as many with few images, because no view repeats), a
    /// quarter of it above 96 px, because a step takes long and a few GB.
    pub fn mixed_batch(&self) -> usize {
        match self.pixels() {
            0..=LARGE if self.fit.len() < 64 => 50,
            0..=LARGE => 64,
            _ => 16.min(self.paper_batch()),
        }
    }

    /// Mixed views in each of so many training steps.
    pub fn views_per_step(&self, steps: u32) -> usize {
        let views = self.mixed_batch();
        if steps > LONG_RUN { views.min(VIEWS_OF_LONG_RUN) } else { views }
    }

    /// Whether there are enough real images to prevent overfitting on unmixed views.
    pub fn many(&self) -> bool {
        !self.made && self.fit.len() >= MANY_IMAGES
    }

    /// Pixels of an image.
    pub fn pixels(&self) -> usize {
        let size = self.images.size();
        (size[2] * size[3]).max(1) as usize
    }

    /// The same images, all of them to be fitted on.
    pub fn all_fitted(&self) -> Self {
        let mut fit = [self.fit.as_slice(), &self.held_out].concat();
        fit.sort_unstable();
        Self {
            images: self.images.shallow_clone(),
            fit,
            held_out: Vec::new(),
            repeated: self.repeated,
            black: self.black.clone(),
            mixtures: self.mixtures,
            made: self.made,
        }
    }

    /// Replaces these images by others, (n, C, H, W).
    pub fn replace(&mut self, indices: &[i64], images: &Tensor) -> Result<(), CompressError> {
        self.images = self.images.f_index_copy(0, &Tensor::from_slice(indices), images)?;
        Ok(())
    }

    /// Images per run when only measuring.
    pub fn evaluation_batch(&self) -> usize {
        memory::part_of((EVALUATION_PIXELS / self.pixels()).clamp(1, 256))
    }
}

/// Indices of the images that differ from all before them.
fn different(batch: &Batch) -> Vec<i64> {
    let mut seen = HashSet::new();
    let digest = |index: usize| {
        let mut hash = Sha256::new();
        batch.image(index).iter().for_each(|value| hash.update(value.to_le_bytes()));
        hash.finalize()
    };
    (0..batch.n).filter(|index| seen.insert(digest(*index))).map(|index| index as i64).collect()
}

/// Value of a grey pixel, from 0 to [`Preprocess::white`], in each channel: (value / divide_by − mean) / std; `mean` and `std`
/// hold one number for all channels or one for each.
pub fn grey(preprocess: &Preprocess, channels: usize, value: f64) -> Vec<f64> {
    let pick = |values: &[f32], channel: usize| f64::from(*values.get(channel).unwrap_or(&values[0]));
    let value = value / f64::from(preprocess.divide_by);
    (0..channels).map(|c| (value - pick(&preprocess.mean, c)) / pick(&preprocess.std, c)).collect()
}

/// A batch of images as a tensor on the CPU.
pub fn to_tensor(batch: &Batch) -> Result<Tensor, CompressError> {
    Ok(Tensor::f_from_slice(&batch.data)?.f_reshape(batch.dims().map(|size| size as i64))?)
}

fn held_out_count(images: usize) -> usize {
    if images < 16 { 0 } else { (images / 5).max(8) }
}

/// Draws batches without replacement, and shuffles again after all images were used.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Batches {
    indices: Vec<i64>,
    next: usize,
    size: usize,
    random: ChaCha8Rng,
}

impl Batches {
    /// Over these images, `size` at a time (fewer if there are fewer).
    pub fn new(indices: &[i64], size: usize, random: ChaCha8Rng) -> Self {
        Self { indices: indices.to_vec(), next: indices.len(), size: size.min(indices.len()), random }
    }

    /// As [`Batches::new`], with as many repetitions as fill a batch: for recipes that never see an image twice alike.
    pub fn repeating(indices: &[i64], size: usize, random: ChaCha8Rng) -> Self {
        let times = size.div_ceil(indices.len().max(1));
        Self::new(&indices.repeat(times), size, random)
    }

    /// The next batch's indices. A rest smaller than a batch is left out, as the paper's loader does.
    pub fn next_batch(&mut self) -> &[i64] {
        if self.next + self.size > self.indices.len() {
            self.indices.shuffle(&mut self.random);
            self.next = 0;
        }
        self.next += self.size;
        &self.indices[self.next - self.size..self.next]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_is_held_out_and_never_fewer_than_eight() {
        assert_eq!([1, 15, 16, 39, 40, 50, 500].map(held_out_count), [0, 0, 8, 8, 8, 10, 100]);
    }

    #[test]
    fn of_images_that_come_out_alike_one_counts() {
        let batch = Batch { n: 5, c: 1, h: 1, w: 2, data: vec![0.0, 1.0, 2.0, 3.0, 0.0, 1.0, 1.0, 0.0, 2.0, 3.0] };
        assert_eq!(different(&batch), [0, 1, 3]);
    }

    #[test]
    fn batches_see_every_image_once_an_epoch() {
        let mut batches = Batches::new(&[0, 1, 2, 3, 4, 5], 2, stream(1, "test"));
        for _ in 0..5 {
            let mut epoch: Vec<i64> = (0..3).flat_map(|_| batches.next_batch().to_vec()).collect();
            epoch.sort_unstable();
            assert_eq!(epoch, [0, 1, 2, 3, 4, 5]);
        }
    }

    /// Samples of these images, (n, C, H, W), the first `fit` of them fitted on.
    fn samples(images: Tensor, fit: i64, channels: usize) -> Samples {
        let held_out = (fit..images.size()[0]).collect();
        let black = vec![-1.0; channels];
        Samples { images, fit: (0..fit).collect(), held_out, repeated: 0, black, mixtures: false, made: false }
    }

    #[test]
    fn a_step_has_fewer_views_in_long_runs_with_few_images_and_on_large_ones() {
        let of =
            |side: i64, fit: i64| samples(Tensor::zeros([fit, 1, side, side], (Kind::Float, tch::Device::Cpu)), fit, 1);
        assert_eq!([450, 900, 901].map(|steps| of(32, 64).views_per_step(steps)), [64, 64, 32]);
        assert_eq!([450, 1800].map(|steps| of(32, 63).views_per_step(steps)), [50, 32]);
        assert_eq!([120, 1800].map(|steps| of(97, 64).views_per_step(steps)), [16, 16]);
    }

    #[test]
    fn drawn_pictures_are_never_many() {
        let mut samples = samples(Tensor::zeros([1, 1, 1, 1], (Kind::Float, tch::Device::Cpu)), 0, 1);
        samples.fit = vec![0; MANY_IMAGES];
        assert!(samples.many());
        samples.made = true;
        assert!(!samples.many());
        (samples.fit, samples.made) = (vec![0; MANY_IMAGES - 1], false);
        assert!(!samples.many());
    }

    #[test]
    fn images_without_colour_are_known_whatever_each_channel_is_scaled_to() {
        tch::manual_seed(5);
        let white = [1.0, 3.0, 7.0];
        let scale = Tensor::from_slice(&[2.0f32, 4.0, 8.0]).view([1, 3, 1, 1]);
        let as_input = |levels: Tensor| samples(levels * &scale - 1.0, 30, 3);
        let grey = Tensor::rand([40, 1, 4, 4], (Kind::Float, tch::Device::Cpu)).expand([40, 3, 4, 4], false);
        assert!(as_input(grey.shallow_clone()).colourless(&white).expect("computes"));
        let coloured = Tensor::rand([4, 3, 4, 4], (Kind::Float, tch::Device::Cpu));
        let some = Tensor::cat(&[&grey.narrow(0, 0, 36), &coloured], 0);
        assert!(!as_input(some).colourless(&white).expect("computes"));
        let of_one_channel = samples(grey.narrow(1, 0, 1), 30, 1);
        assert!(!of_one_channel.colourless(&white[..1]).expect("computes"), "the network takes no colour");
    }

    #[test]
    fn made_images_stand_beside_no_more_given_ones_in_both_parts() {
        let of = |value: f64, count: i64| Tensor::full([count, 1, 1, 1], value, (Kind::Float, tch::Device::Cpu));
        let both = samples(of(1.0, 5), 3, 1).beside(&samples(of(2.0, 4), 3, 1)).expect("joins");
        assert_eq!((both.fit.as_slice(), both.held_out.as_slice()), ([0, 1, 2, 5, 6, 7].as_slice(), [3, 8].as_slice()));
        let values = Vec::<f64>::try_from(both.select(&[3, 8]).expect("images").flatten(0, -1)).expect("numbers");
        assert_eq!((values, both.made), (vec![1.0, 2.0], true));
    }

    #[test]
    fn few_images_make_small_batches() {
        assert_eq!(Batches::new(&[7, 8], 64, stream(1, "test")).next_batch().len(), 2);
    }
}
