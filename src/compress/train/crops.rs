//! Crops first: early steps see a part of each view, and the whole comes last.
//!
//! A convolution does the same at every position, so what is far from right can be learnt from half of them, in half of the
//! time. What an image's border and its mean over all positions bring is left for the last steps (Tan and Le,
//! *EfficientNetV2: smaller models and faster training*, 2021, §4, where whole images are shrunk instead).

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use tch::Tensor;

use super::pair::Pair;
use crate::compress::CompressError;
use crate::compress::error::taken;
use crate::compress::random::stream;
use crate::compress::setting::Setting;
use crate::compress::student::Student;
use crate::compress::student::fused::Fused;
use crate::exec::memory;
use crate::spec::config::{LARGE, Precision};

/// Sides of the crops, as a share of the image's.
const SHARE: f64 = 0.75;

/// Sides are multiples of so many pixels, so that strides halve them as they halve the image's.
const MULTIPLE: i64 = 4;

/// Crops have sides of so many pixels at least: much smaller, they would be borders more than anything else.
const LEAST: i64 = 12;

/// Images that crops are tried on.
const TRIED_ON: usize = 4;

/// Height and width of the crops of images of this size.
fn size([height, width]: [i64; 2]) -> [i64; 2] {
    let part = |side: i64| {
        let part = (side as f64 * SHARE / MULTIPLE as f64).round() as i64 * MULTIPLE;
        part.max(LEAST).min(side)
    };
    [part(height), part(width)]
}

/// A crop of every view, (n, C, H, W), all at the same place.
pub fn crop(views: &Tensor, random: &mut ChaCha8Rng) -> Result<Tensor, CompressError> {
    let all = views.size();
    let (height, width) = (all[2], all[3]);
    let [h, w] = size([height, width]);
    let (top, left) = (random.random_range(0..=height - h), random.random_range(0..=width - w));
    Ok(views.f_narrow(2, top, h)?.f_narrow(3, left, w)?)
}

/// Whether both networks take crops of the images, and answer in the same form, as with positions that are learnt they do
/// not. The student is the teacher ahead of the node at `first`. Large images are not cropped: a network is used to the size
/// at which things appear on them (EfficientNet-Lite0 recovered less, docs/performance.md).
pub fn fit(setting: &Setting, student: &Student, first: usize, precision: Precision) -> Result<bool, CompressError> {
    if setting.samples.pixels() > LARGE {
        return Ok(false);
    }
    let mut fused = Fused::new(student, first)?;
    let pair = Pair::plan(setting, fused.student(), first, &[], precision)?;
    let images =
        setting.samples.select(&setting.samples.fit[..setting.samples.fit.len().min(memory::part_of(TRIED_ON))])?;
    let form =
        |features: &[Tensor]| features.iter().map(|tap| tap.size()[..2.min(tap.dim())].to_vec()).collect::<Vec<_>>();
    let cropped = crop(&images, &mut stream(0, "crops"))?;
    // An error of an operator is the answer, not a failure.
    let Some(features) = taken(pair.features(&cropped))? else { return Ok(false) };
    let student = fused.with(&student.params)?;
    let runs = taken(tch::no_grad(|| pair.loss(&student.params, &cropped, 0.0)))?.is_some();
    Ok(runs && form(&features) == form(&pair.features(&images)?))
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn sides_are_three_quarters_in_steps_that_strides_can_halve() {
        assert_eq!([[32, 48], [224, 224], [28, 28]].map(size), [[24, 36], [168, 168], [20, 20]]);
        assert_eq!([[14, 14], [8, 8]].map(size), [[12, 12], [8, 8]], "not too small, and never larger than the image");
    }

    #[test]
    fn a_crop_is_a_part_of_every_view() {
        let views = Tensor::arange(2 * 32 * 32, (Kind::Float, Device::Cpu)).view([2, 1, 32, 32]);
        let cropped = crop(&views, &mut stream(4, "crops")).expect("crops");
        assert_eq!(cropped.size(), [2, 1, 24, 24]);
        let first = cropped.double_value(&[0, 0, 0, 0]);
        assert_eq!(cropped.double_value(&[0, 0, 23, 23]), first + 23.0 * 32.0 + 23.0);
        assert_eq!(cropped.double_value(&[1, 0, 0, 0]), first + 1024.0, "at the same place in each");
    }
}
