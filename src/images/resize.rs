//! Pixels at another size.

use fast_image_resize::images::Image as Pixels;
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::decode::Rgb8;

/// The image at this size, neither side 0: bilinear, over all pixels that fall into one where it shrinks, as Pillow's.
pub(super) fn resized(image: &Rgb8, width: u32, height: u32) -> Rgb8 {
    let source = Pixels::from_vec_u8(image.width, image.height, image.pixels.clone(), PixelType::U8x3)
        .expect("the pixels fill the image");
    let mut target = Pixels::new(width, height, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    Resizer::new().resize(&source, &mut target, &options).expect("both are RGB8 and neither is empty");
    Rgb8 { width, height, pixels: target.into_vec() }
}
