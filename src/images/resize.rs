//! Pixels at another size.

use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use serde::{Deserialize, Serialize};

use super::decode::{Rgb, Sample};

/// How a resized pixel follows from those of the image. The names are torchvision's; `area` is OpenCV's name of `box`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// Triangle filter.
    #[default]
    Bilinear,
    /// Cubic convolution with a = -0.5.
    Bicubic,
    /// The pixel in the middle.
    Nearest,
    /// Lanczos filter of three lobes.
    Lanczos,
    /// Mean over the area.
    #[serde(alias = "area")]
    Box,
}

/// The image at this size, neither side 0. Every filter but `nearest` takes all pixels that fall into one if the image shrinks,
/// as Pillow's do.
pub(super) fn resized<S: Sample>(image: &Rgb<S>, width: u32, height: u32, how: Interpolation) -> Rgb<S> {
    let source = S::dynamic(image.clone());
    let mut target =
        S::dynamic(Rgb { width, height, pixels: vec![S::default(); 3 * width as usize * height as usize] });
    let options = ResizeOptions::new().resize_alg(algorithm(how));
    Resizer::new().resize(&source, &mut target, &options).expect("both are RGB and neither is empty");
    S::pixels(target)
}

fn algorithm(how: Interpolation) -> ResizeAlg {
    match how {
        Interpolation::Nearest => ResizeAlg::Nearest,
        Interpolation::Bilinear => ResizeAlg::Convolution(FilterType::Bilinear),
        // Keys' kernel with a = -0.5, as Pillow's BICUBIC.
        Interpolation::Bicubic => ResizeAlg::Convolution(FilterType::CatmullRom),
        Interpolation::Lanczos => ResizeAlg::Convolution(FilterType::Lanczos3),
        Interpolation::Box => ResizeAlg::Convolution(FilterType::Box),
    }
}
