//! Mixed views (docs/method.md §6.3): a box of every image replaced by the same box of another. The teacher can be evaluated on
//! any input, so a mixture needs no label, and a handful of images becomes as many as there are steps. With 10 images, recovery
//! is only possible with it.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use tch::Tensor;

use super::send::send;
use crate::compress::CompressError;

/// Sides of the box, as shares of the image's.
const BOX: std::ops::RangeInclusive<f64> = 0.25..=0.75;

/// Replaces one box of every image, (n, C, H, W), by the same box of another image of the batch; another box for each.
pub fn cutmix(images: &Tensor, random: &mut ChaCha8Rng) -> Result<Tensor, CompressError> {
    let size = images.size();
    let (count, height, width) = (size[0], size[2], size[3]);
    if count < 2 {
        return Ok(images.shallow_clone());
    }
    let others = images.f_roll([random.random_range(1..count)], [0])?;
    let (mut rows, mut columns) = (Vec::new(), Vec::new());
    for _ in 0..count {
        rows.extend(marked(height, random));
        columns.extend(marked(width, random));
    }
    let marks = send(&Tensor::f_from_slice(&[rows, columns].concat())?, images.device())?;
    let rows = marks.f_narrow(0, 0, count * height)?.f_view([count, 1, height, 1])?;
    let columns = marks.f_narrow(0, count * height, count * width)?.f_view([count, 1, 1, width])?;
    Ok(others.f_where_self(&rows.f_logical_and(&columns)?, images)?)
}

/// An axis with a random stretch marked.
fn marked(side: i64, random: &mut ChaCha8Rng) -> impl Iterator<Item = bool> + use<> {
    let (begin, length) = span(side, random);
    (0..side).map(move |at| (begin..begin + length).contains(&at))
}

/// Begin and length of a random stretch of an axis.
fn span(side: i64, random: &mut ChaCha8Rng) -> (i64, i64) {
    let length = ((side as f64 * random.random_range(BOX)).round() as i64).clamp(1, side);
    (random.random_range(0..=side - length), length)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::compress::random::stream;

    #[test]
    fn every_image_gets_a_box_of_one_other() {
        // Image i is all i, so that each pixel tells where it came from.
        let images = Tensor::arange(6, (Kind::Float, Device::Cpu)).view([6, 1, 1, 1]).expand([6, 3, 16, 16], false);
        let mixed = cutmix(&images, &mut stream(1, "mixing")).expect("mixes");
        assert_eq!(mixed.size(), images.size());
        for image in 0..6 {
            let seen = mixed.get(image);
            let own = seen.eq(image as f64).sum(Kind::Int64).int64_value(&[]);
            let other = (seen.sum(Kind::Float).double_value(&[]) - (own * image) as f64) / (3 * 256 - own) as f64;
            let share = 1.0 - own as f64 / (3.0 * 256.0);
            assert!((0.05..=0.57).contains(&share), "{share} of image {image} is another's");
            assert_eq!(other.fract(), 0.0, "all of it from one other image");
        }
    }

    #[test]
    fn a_batch_is_mixed_as_its_images_one_by_one() {
        tch::manual_seed(8);
        for (count, height, width) in [(6, 16, 16), (2, 7, 30), (5, 1, 3)] {
            let images = Tensor::randn([count, 3, height, width], (Kind::Float, Device::Cpu));
            let mixed = cutmix(&images, &mut stream(9, "mixing")).expect("mixes");
            let mut random = stream(9, "mixing");
            let others = images.roll([random.random_range(1..count)], [0]);
            let expected = images.copy();
            for image in 0..count {
                let ((top, h), (left, w)) = (span(height, &mut random), span(width, &mut random));
                let boxed = |tensor: &Tensor| tensor.get(image).narrow(1, top, h).narrow(2, left, w);
                boxed(&expected).copy_(&boxed(&others));
            }
            assert!(mixed.equal(&expected), "{count} images of {height} × {width}");
        }
    }

    #[test]
    fn one_image_alone_stays_as_it_is() {
        let image = Tensor::randn([1, 3, 8, 8], (Kind::Float, Device::Cpu));
        assert!(cutmix(&image, &mut stream(1, "mixing")).expect("mixes").equal(&image));
    }
}
