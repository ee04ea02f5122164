//! The images that a training walks through, held where it computes.

use rand_chacha::ChaCha8Rng;
use tch::{Device, Tensor};

use super::Samples;
use super::send::send;
use super::views::{self, Cut};
use crate::compress::CompressError;
use crate::exec::memory;

/// Images of so many bytes are kept on a GPU; of more, those of each step are sent.
const MOST_KEPT: usize = 2 << 30;

/// The images of a tiny set, and the device that views of them are computed on.
#[derive(Debug)]
pub struct Stock {
    /// All images, (N, C, H, W): on the device if they fit there, else on the CPU.
    images: Tensor,
    device: Device,
    black: Vec<f64>,
}

impl Stock {
    /// All images of these samples, for training on a device.
    pub fn on(device: Device, samples: &Samples) -> Result<Self, CompressError> {
        let images = &samples.images;
        let bytes = images.numel() * images.kind().elt_size_in_bytes();
        // If memory has run out, the images make room.
        let kept = bytes <= MOST_KEPT && memory::parts() == 1;
        let images = if kept { images.f_to_device(device)? } else { images.shallow_clone() };
        Ok(Self { images, device, black: samples.black.clone() })
    }

    /// New views of some of the images, (n, C, H, W), on the device.
    pub fn views(&self, indices: &[i64], cut: Cut, random: &mut ChaCha8Rng) -> Result<Tensor, CompressError> {
        let indices = send(&Tensor::f_from_slice(indices)?, self.images.device())?;
        let images = send(&self.images.f_index_select(0, &indices)?, self.device)?;
        views::views(&images, cut, &self.black, random)
    }

    /// The same images, which share their memory with these.
    pub fn shallow_copy(&self) -> Self {
        Self { images: self.images.shallow_clone(), device: self.device, black: self.black.clone() }
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::compress::random::stream;

    #[test]
    fn views_are_of_the_images_asked_for_whether_they_are_kept_or_sent() {
        // Image i is all i.
        let images = Tensor::arange(5, (Kind::Float, Device::Cpu)).view([5, 1, 1, 1]).expand([5, 2, 8, 8], false);
        let black = vec![0.0; 2];
        let (fit, held_out) = ((0..5).collect(), Vec::new());
        let samples = Samples { images, fit, held_out, repeated: 0, black, mixtures: false, made: false };
        let views = || {
            let stock = Stock::on(Device::Cpu, &samples).expect("a stock");
            stock.views(&[3, 1, 3], Cut::Ours, &mut stream(1, "views")).expect("views")
        };
        let seen = views();
        assert_eq!(Vec::<f32>::try_from(seen.amax([1i64, 2, 3].as_slice(), false)).expect("numbers"), [3.0, 1.0, 3.0]);
        assert!(seen.equal(&memory::in_parts(2, views)));
    }
}
