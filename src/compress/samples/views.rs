//! Fresh views of the images at every step. No label is needed, so the teacher can be evaluated on any view.
//!
//! The window of each view is drawn on the host, image by image. The pixels of all of them are computed in one operation on the
//! device that holds the images, so that a GPU does not wait for the host.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use tch::Tensor;

use super::send::send;
use crate::compress::CompressError;

const PADDING: i64 = 4;

const LOG_ASPECT: std::ops::RangeInclusive<f64> = -0.2877..=0.2877;

/// `grid_sampler`'s codes for bilinear interpolation, and for the nearest pixel of the border outside the image.
const BILINEAR: i64 = 0;
const BORDER: i64 = 1;

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

/// The part of an image that a view shows, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    top: i64,
    left: i64,
    height: i64,
    width: i64,
    flipped: bool,
}

/// A new view of every image, (n, C, H, W), on the images' device; `black` is a black pixel after preprocessing.
pub fn views(images: &Tensor, cut: Cut, black: &[f64], random: &mut ChaCha8Rng) -> Result<Tensor, CompressError> {
    let size = images.size();
    let (height, width) = (size[2], size[3]);
    let windows = |draw: &mut dyn FnMut() -> Window| (0..size[0]).map(|_| draw()).collect::<Vec<_>>();
    match cut {
        Cut::Paper if height.min(width) < 64 => {
            let windows = windows(&mut || Window::shifted(height, width, random));
            picked(&pad(images, black)?, [height, width], &windows)
        }
        Cut::Paper => resized(images, &windows(&mut || Window::cropped(height, width, 0.08, random))),
        Cut::Ours => resized(images, &windows(&mut || Window::cropped(height, width, 0.35, random))),
    }
}

impl Window {
    /// A window of the image's size into the padded image.
    fn shifted(height: i64, width: i64, random: &mut ChaCha8Rng) -> Self {
        let (top, left) = (random.random_range(0..=2 * PADDING), random.random_range(0..=2 * PADDING));
        Self { top, left, height, width, flipped: random.random_bool(0.5) }
    }

    /// A crop of the share `least` of the area or more.
    fn cropped(height: i64, width: i64, least: f64, random: &mut ChaCha8Rng) -> Self {
        let area = (height * width) as f64 * random.random_range(least..=1.0);
        let aspect = random.random_range(LOG_ASPECT).exp();
        // Relative to the image's own shape, because the view is resized back to it: a line of text must not be stretched to
        // several times its width.
        let own = width as f64 / height as f64;
        let h = ((area / aspect / own).sqrt().round() as i64).clamp(1, height);
        let w = ((area * aspect * own).sqrt().round() as i64).clamp(1, width);
        let (top, left) = (random.random_range(0..=height - h), random.random_range(0..=width - w));
        Self { top, left, height: h, width: w, flipped: random.random_bool(0.5) }
    }
}

fn pad(images: &Tensor, black: &[f64]) -> Result<Tensor, CompressError> {
    let black = send(&Tensor::from_slice(black).f_to_kind(images.kind())?, images.device())?.f_view([1, -1, 1, 1])?;
    let sides = [PADDING; 4];
    Ok(images.f_sub(&black)?.f_constant_pad_nd(sides)?.f_add(&black)?)
}

/// The pixels of windows that all have this height and width, unchanged.
fn picked(images: &Tensor, [height, width]: [i64; 2], windows: &[Window]) -> Result<Tensor, CompressError> {
    let (size, count) = (images.size(), windows.len() as i64);
    let mut rows: Vec<i64> = Vec::new();
    let mut columns: Vec<i64> = Vec::new();
    for window in windows {
        rows.extend((0..height).map(|y| (window.top + y) * size[3]));
        columns.extend((0..width).map(|x| window.left + if window.flipped { width - 1 - x } else { x }));
    }
    let positions = send(&Tensor::f_from_slice(&[rows, columns].concat())?, images.device())?;
    let rows = positions.f_narrow(0, 0, count * height)?.f_view([count, 1, height, 1])?;
    let columns = positions.f_narrow(0, count * height, count * width)?.f_view([count, 1, 1, width])?;
    let positions = (rows + columns).f_view([count, 1, -1])?.f_expand([count, size[1], height * width], false)?;
    Ok(images.f_flatten(2, 3)?.f_gather(2, &positions, false)?.f_view([count, size[1], height, width])?)
}

/// The windows resized to the images' size, as `upsample_bilinear2d` resizes a crop: pixels outside a window are not seen.
fn resized(images: &Tensor, windows: &[Window]) -> Result<Tensor, CompressError> {
    let (size, count) = (images.size(), windows.len() as i64);
    let (height, width) = (size[2], size[3]);
    let mut rows: Vec<f32> = Vec::new();
    let mut columns: Vec<f32> = Vec::new();
    for window in windows {
        rows.extend((0..height).map(|y| seen(y, height, window.top, window.height)));
        let across = |x: i64| if window.flipped { width - 1 - x } else { x };
        columns.extend((0..width).map(|x| seen(across(x), width, window.left, window.width)));
    }
    let places = send(&Tensor::f_from_slice(&[rows, columns].concat())?, images.device())?;
    let all = [count, height, width, 1];
    let rows = places.f_narrow(0, 0, count * height)?.f_view([count, height, 1, 1])?.f_expand(all, false)?;
    let columns = places.f_narrow(0, count * height, count * width)?.f_view([count, 1, width, 1])?;
    let grid = Tensor::f_cat(&[columns.f_expand(all, false)?, rows], 3)?;
    Ok(images.f_grid_sampler(&grid, BILINEAR, BORDER, false)?)
}

/// Where the pixel `at` of an axis resized from `length` to `side` pixels looks, as `grid_sampler` counts: the image from -1
/// to 1.
fn seen(at: i64, side: i64, begin: i64, length: i64) -> f32 {
    let within = (at as f64 + 0.5) * length as f64 / side as f64 - 0.5;
    let place = begin as f64 + within.clamp(0.0, (length - 1) as f64);
    ((2.0 * place + 1.0) / side as f64 - 1.0) as f32
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

    /// One image after the other: cropped, resized and flipped by torch's own operations.
    fn one_by_one(images: &Tensor, cut: Cut, black: &[f64], random: &mut ChaCha8Rng) -> Tensor {
        let size = images.size();
        let (height, width) = (size[2], size[3]);
        let shifts = cut == Cut::Paper && height.min(width) < 64;
        let padded = pad(images, black).expect("pads");
        let view = |image: i64| {
            let window = match cut {
                Cut::Paper if shifts => Window::shifted(height, width, random),
                Cut::Paper => Window::cropped(height, width, 0.08, random),
                Cut::Ours => Window::cropped(height, width, 0.35, random),
            };
            let from = if shifts { padded.get(image) } else { images.get(image) };
            let crop = from.narrow(1, window.top, window.height).narrow(2, window.left, window.width).unsqueeze(0);
            let whole = if shifts { crop } else { crop.upsample_bilinear2d([height, width], false, None, None) };
            if window.flipped { whole.flip([3]) } else { whole }
        };
        Tensor::cat(&(0..size[0]).map(view).collect::<Vec<_>>(), 0)
    }

    #[test]
    fn views_of_a_batch_are_those_of_its_images_one_by_one() {
        tch::manual_seed(6);
        for (height, width) in [(32, 32), (17, 40), (64, 64), (100, 70), (48, 320), (1, 9)] {
            for cut in [Cut::Ours, Cut::Paper] {
                let images = Tensor::randn([12, 3, height, width], (Kind::Float, Device::Cpu));
                let black = [-1.0, 0.5, -2.0];
                let (mut one, mut other) = (stream(7, "views"), stream(7, "views"));
                let batch = views(&images, cut, &black, &mut one).expect("views");
                let single = one_by_one(&images, cut, &black, &mut other);
                let apart = (&batch - &single).abs().max().double_value(&[]);
                assert!(apart < 5e-4, "{cut:?} of {height} × {width}: {apart}");
                assert_eq!(one.random::<u64>(), other.random::<u64>(), "as many numbers are drawn");
            }
        }
    }

    #[test]
    fn the_same_stream_gives_the_same_views() {
        let images = Tensor::randn([4, 1, 20, 20], (Kind::Float, Device::Cpu));
        let twice = [0, 0].map(|_| views(&images, Cut::Ours, &[0.0], &mut stream(3, "views")).expect("views"));
        assert!(twice[0].equal(&twice[1]));
    }
}
