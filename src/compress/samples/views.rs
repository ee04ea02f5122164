//! Fresh views of the images at every step. No label is needed, so the teacher can be evaluated on any view.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use tch::Tensor;

use crate::compress::CompressError;

const PADDING: i64 = 4;

const LOG_ASPECT: std::ops::RangeInclusive<f64> = -0.2877..=0.2877;

/// How views are cut out of images; all are flipped at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Crops of 35 % of the area or more, at an aspect ratio of 3/4–4/3 of the image's own, resized back.
    Ours,
    /// As the paper's networks were trained: below 64 px shifted by up to 4 over a black border; from 64 px on, crops of 8 % of
    /// the area or more, the default of torchvision's RandomResizedCrop (for square images; other images keep their own aspect
    /// ratio too).
    Paper,
}

/// A new view of every image, (n, C, H, W); `black` is a black pixel after preprocessing.
pub fn views(images: &Tensor, cut: Cut, black: &[f64], random: &mut ChaCha8Rng) -> Result<Tensor, CompressError> {
    let size = images.size();
    let shifts = cut == Cut::Paper && size[2].min(size[3]) < 64;
    let padded = shifts.then(|| pad(images, black)).transpose()?;
    let view = |image| match (&padded, cut) {
        (Some(padded), _) => shifted(&padded.get(image), size[2], size[3], random),
        (None, Cut::Ours) => resized_crop(&images.get(image), 0.35, random),
        (None, Cut::Paper) => resized_crop(&images.get(image), 0.08, random),
    };
    let views = (0..size[0]).map(view).collect::<Result<Vec<_>, _>>()?;
    Ok(Tensor::f_stack(&views, 0)?)
}

fn pad(images: &Tensor, black: &[f64]) -> Result<Tensor, CompressError> {
    let black = Tensor::from_slice(black).f_to_kind(images.kind())?.f_view([1, -1, 1, 1])?;
    let sides = [PADDING; 4];
    Ok(images.f_sub(&black)?.f_constant_pad_nd(sides)?.f_add(&black)?)
}

fn shifted(image: &Tensor, height: i64, width: i64, random: &mut ChaCha8Rng) -> Result<Tensor, CompressError> {
    let (top, left) = (random.random_range(0..=2 * PADDING), random.random_range(0..=2 * PADDING));
    flipped(image.f_narrow(1, top, height)?.f_narrow(2, left, width)?, random)
}

fn resized_crop(image: &Tensor, least: f64, random: &mut ChaCha8Rng) -> Result<Tensor, CompressError> {
    let size = image.size();
    let (height, width) = (size[1], size[2]);
    let area = (height * width) as f64 * random.random_range(least..=1.0);
    let aspect = random.random_range(LOG_ASPECT).exp();
    // Of the image's own shape, which is what a view is resized back to: a line of text must not be stretched to several times
    // its width.
    let own = width as f64 / height as f64;
    let h = ((area / aspect / own).sqrt().round() as i64).clamp(1, height);
    let w = ((area * aspect * own).sqrt().round() as i64).clamp(1, width);
    let (top, left) = (random.random_range(0..=height - h), random.random_range(0..=width - w));
    let crop = image.f_narrow(1, top, h)?.f_narrow(2, left, w)?.f_unsqueeze(0)?;
    flipped(crop.f_upsample_bilinear2d([height, width], false, None, None)?.f_squeeze_dim(0)?, random)
}

fn flipped(image: Tensor, random: &mut ChaCha8Rng) -> Result<Tensor, CompressError> {
    if random.random_bool(0.5) { Ok(image.f_flip([2])?) } else { Ok(image) }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::compress::random::stream;

    #[test]
    fn the_papers_views_of_small_images_are_shifted_over_black() {
        let images = Tensor::ones([8, 3, 16, 16], (Kind::Float, Device::Cpu));
        let seen = views(&images, Cut::Paper, &[-1.0, -2.0, -3.0], &mut stream(1, "views")).expect("views");
        assert_eq!(seen.size(), images.size());
        for (channel, black) in [-1.0, -2.0, -3.0].into_iter().enumerate() {
            let plane = seen.select(1, channel as i64);
            let (least, most) = (plane.min().double_value(&[]), plane.max().double_value(&[]));
            assert_eq!((least, most), (black, 1.0), "channel {channel} holds image and black, nothing else");
        }
    }

    #[test]
    fn other_views_are_cropped_and_resized_back() {
        for (cut, side) in [(Cut::Ours, 16), (Cut::Ours, 96), (Cut::Paper, 96)] {
            let ramp = Tensor::arange(side, (Kind::Float, Device::Cpu))
                .view([1, 1, 1, side])
                .expand([8, 3, side, side], false);
            let seen = views(&ramp, cut, &[-100.0; 3], &mut stream(2, "views")).expect("views");
            assert_eq!(seen.size(), [8, 3, side, side]);
            // Interpolation rounds.
            let last = (side - 1) as f64 + 1e-3;
            assert!(
                seen.min().double_value(&[]) >= -1e-3 && seen.max().double_value(&[]) <= last,
                "no border is shown"
            );
            let spread = |i: i64| (seen.get(i).max() - seen.get(i).min()).double_value(&[]);
            assert!((0..8).any(|i| spread(i) < last - 1.5), "some view shows less than the whole");
        }
    }

    #[test]
    fn crops_of_long_images_are_long() {
        let (height, width) = (16, 128);
        let down = Tensor::arange(height, (Kind::Float, Device::Cpu)).view([1, 1, height, 1]);
        let across = Tensor::arange(width, (Kind::Float, Device::Cpu)).view([1, 1, 1, width]);
        let both = Tensor::cat(&[down, across].map(|ramp| ramp.expand([40, 1, height, width], false)), 1);
        let seen = views(&both, Cut::Ours, &[0.0; 2], &mut stream(4, "views")).expect("views");
        for view in 0..40 {
            let share = |channel: i64, side: i64| {
                let plane = seen.get(view).get(channel);
                (plane.max() - plane.min()).double_value(&[]) / (side - 1) as f64
            };
            let (high, wide) = (share(0, height), share(1, width));
            // 35 % of the area at 3/4 to 4/3, less what is lost between pixels.
            assert!(high > 0.4 && wide > 0.45, "{high} {wide}");
            assert!((0.65..=1.55).contains(&(wide / high)), "{high} {wide}");
        }
    }

    #[test]
    fn the_same_stream_gives_the_same_views() {
        let images = Tensor::randn([4, 1, 20, 20], (Kind::Float, Device::Cpu));
        let twice = [0, 0].map(|_| views(&images, Cut::Ours, &[0.0], &mut stream(3, "views")).expect("views"));
        assert!(twice[0].equal(&twice[1]));
    }
}
