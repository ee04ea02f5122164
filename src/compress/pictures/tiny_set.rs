//! The images of a job: the customer's, or procedural ones if there are none (docs/method.md §7).

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use tch::Tensor;

use crate::compress::CompressError;
use crate::compress::random::stream;
use crate::images::{Chw, ImageError, ImageSet, ModelInput, Preprocess};
use crate::spec::config::JobConfig;
use crate::spec::report::ImageSource;

/// Number of procedural images: as many as have [`PIXELS`] together, within these bounds. A fifth of the minimum can still be
/// held out.
const COUNT: std::ops::RangeInclusive<usize> = 16..=500;

/// Pixels of all procedural images together: 96 images at 224 × 224.
const PIXELS: usize = 96 * 224 * 224;

/// Number of images to optimise, within these bounds. For small sizes, with many images, procedural ones are better for fitting
/// and optimised ones for validation.
const RECOGNISED: std::ops::RangeInclusive<usize> = 16..=200;

/// Pixels of all of them together: 64 images at 224 × 224.
const RECOGNISED_PIXELS: usize = 64 * 224 * 224;

/// Number of procedural images that are added to a handful of images.
const BESIDE: usize = 64;

/// Number of procedural images rendered for each one that is kept; the selection spreads over the teacher's classes.
const DRAWN_PER_KEPT: usize = 3;

/// Images with their preprocessing and source.
pub struct TinySet {
    /// The images.
    pub images: ImageSet,
    /// Preprocessing from these images to the network's input.
    pub preprocess: Preprocess,
    /// Their source.
    pub rung: ImageSource,
}

/// Number of images to optimise at this size.
pub fn recognised(size: Chw) -> usize {
    (RECOGNISED_PIXELS / (size.height * size.width).max(1)).clamp(*RECOGNISED.start(), *RECOGNISED.end())
}

impl TinySet {
    /// The input's size, from the network, the images if there are any, and the settings; an error if they do not fit together.
    pub fn size(input: ModelInput, images: Option<&ImageSet>, config: &JobConfig) -> Result<Chw, ImageError> {
        Ok(match images {
            Some(set) => config.preprocess.check(input, set.images())?,
            None => config.preprocess.size_without_images(input)?,
        })
    }

    /// The given images.
    pub fn given(images: &ImageSet, config: &JobConfig) -> Self {
        Self { images: images.clone(), preprocess: config.preprocess.clone(), rung: ImageSource::Given }
    }

    /// Procedural images in place of given ones. `classes` returns the teacher's output, (n, classes), for images, (n, C, H,
    /// W).
    pub fn drawn_alone(
        config: &JobConfig,
        size: Chw,
        classes: impl FnOnce(&ImageSet, &Preprocess) -> Result<Tensor, CompressError>,
    ) -> Result<Self, CompressError> {
        let count = (PIXELS / (size.height * size.width).max(1)).clamp(*COUNT.start(), *COUNT.end());
        Self::drawn(config, size, count, classes)
    }

    /// Procedural images to fit in addition to a handful of images.
    pub fn beside(
        config: &JobConfig,
        size: Chw,
        classes: impl FnOnce(&ImageSet, &Preprocess) -> Result<Tensor, CompressError>,
    ) -> Result<Self, CompressError> {
        Self::drawn(config, size, BESIDE, classes)
    }

    fn drawn(
        config: &JobConfig,
        size: Chw,
        count: usize,
        classes: impl FnOnce(&ImageSet, &Preprocess) -> Result<Tensor, CompressError>,
    ) -> Result<Self, CompressError> {
        let preprocess = config.preprocess.drawn();
        let (width, height) = (size.width as u32, size.height as u32);
        let mut random = stream(config.seed, "procedural");
        let drawn = ImageSet::procedural(count * DRAWN_PER_KEPT, width, height, &mut random);
        let kept = balanced(&classes(&drawn, &preprocess)?, count, &mut random)?;
        Ok(Self { images: drawn.only(&kept), preprocess, rung: ImageSource::Procedural })
    }
}

/// Indices of `count` images, spread as evenly as possible over the classes that the teacher predicts, (n, classes); the first
/// ones if the output is not classes. In ascending order.
fn balanced(output: &Tensor, count: usize, random: &mut ChaCha8Rng) -> Result<Vec<usize>, CompressError> {
    let Some(classes) = crate::compress::quality::classes::top_classes(output)? else {
        return Ok((0..count).collect());
    };
    let most = classes.iter().max().map_or(0, |most| *most as usize + 1);
    let mut of_class: Vec<Vec<usize>> = vec![Vec::new(); most];
    classes.iter().enumerate().for_each(|(image, class)| of_class[*class as usize].push(image));
    of_class.iter_mut().for_each(|images| images.shuffle(random));
    let mut kept = Vec::with_capacity(count);
    while kept.len() < count.min(classes.len()) {
        let round: Vec<usize> = of_class.iter_mut().filter_map(Vec::pop).collect();
        kept.extend(round.into_iter().take(count - kept.len()));
    }
    kept.sort_unstable();
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    /// Outputs of a classifier that sees these classes.
    fn seeing(classes: &[i64]) -> Tensor {
        Tensor::from_slice(classes).one_hot(4).to_kind(Kind::Float)
    }

    #[test]
    fn classes_that_are_rare_are_kept_whole_and_common_ones_thinned() {
        let output = seeing(&[0, 0, 0, 0, 0, 0, 1, 0, 0, 3, 0, 1]);
        let kept = balanced(&output, 6, &mut stream(1, "test")).expect("classes");
        assert_eq!(kept.len(), 6);
        assert!([6, 9, 11].iter().all(|rare| kept.contains(rare)), "{kept:?}");
        assert!(kept.is_sorted());
    }

    #[test]
    fn an_output_without_classes_keeps_the_first() {
        let map = Tensor::zeros([5, 2, 4, 4], (Kind::Float, Device::Cpu));
        assert_eq!(balanced(&map, 3, &mut stream(1, "test")).expect("no classes"), [0, 1, 2]);
    }
}
