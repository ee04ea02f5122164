//! Encoded bytes to upright RGB, and pixels of our own back to bytes.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageBuffer, ImageDecoder, ImageEncoder as _, ImageFormat, ImageReader};

use super::whole;

/// A decoded image: RGB, row by row, upright.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rgb<S> {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `height × width × 3` samples (H,W,C).
    pub pixels: Vec<S>,
}

/// The usual depth.
pub type Rgb8 = Rgb<u8>;

/// Every sample as the file has it: 0–65535 of a 16-bit image, 0–255 of an 8-bit one.
pub type Rgb16 = Rgb<u16>;

/// One channel of one pixel.
pub trait Sample: Copy + Default + Into<f32> + Into<u32> {
    /// The image at this depth.
    fn pixels(image: DynamicImage) -> Rgb<Self>;
    /// The other way round.
    fn dynamic(image: Rgb<Self>) -> DynamicImage;
    /// The lower bits of a number that fits.
    fn from_bits(value: u32) -> Self;
}

impl Sample for u8 {
    fn pixels(image: DynamicImage) -> Rgb8 {
        let rgb = image.into_rgb8();
        Rgb { width: rgb.width(), height: rgb.height(), pixels: rgb.into_raw() }
    }

    fn dynamic(image: Rgb8) -> DynamicImage {
        buffer(image).map(DynamicImage::ImageRgb8).expect("the pixels fill the image")
    }

    fn from_bits(value: u32) -> Self {
        value as Self
    }
}

impl Sample for u16 {
    fn pixels(image: DynamicImage) -> Rgb16 {
        if !sixteen_bits(image.color()) {
            let Rgb { width, height, pixels } = u8::pixels(image);
            return Rgb { width, height, pixels: pixels.into_iter().map(Self::from).collect() };
        }
        let rgb = image.into_rgb16();
        Rgb { width: rgb.width(), height: rgb.height(), pixels: rgb.into_raw() }
    }

    fn dynamic(image: Rgb16) -> DynamicImage {
        buffer(image).map(DynamicImage::ImageRgb16).expect("the pixels fill the image")
    }

    fn from_bits(value: u32) -> Self {
        value as Self
    }
}

fn buffer<S>(image: Rgb<S>) -> Option<ImageBuffer<image::Rgb<S>, Vec<S>>>
where
    image::Rgb<S>: image::Pixel<Subpixel = S>,
{
    ImageBuffer::from_raw(image.width, image.height, image.pixels)
}

fn sixteen_bits(colour: ColorType) -> bool {
    matches!(colour, ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16)
}

const SUPPORTED: &str = "JPEG, PNG, BMP, WebP and TIFF are supported";

/// Decodes an image by content, whatever the name says, and applies the EXIF orientation. An alpha channel is left out; of a TIFF
/// with several pages the first counts. The error is the reason that a customer reads.
pub(super) fn decode<S: Sample>(bytes: &[u8], max_pixels: u64) -> Result<Rgb<S>, String> {
    caught(|| decode_upright(bytes, max_pixels).map(S::pixels))
}

/// Width and height, upright, of an image that [`decode`] decodes.
pub(super) fn size(bytes: &[u8], max_pixels: u64) -> Result<(u32, u32), String> {
    caught(|| decode_upright(bytes, max_pixels).map(|image| (image.width(), image.height())))
}

/// Width × height, and the bytes that they are decoded to, by the header alone; 0 if [`decode`] refuses the file for what stands
/// there.
pub(super) fn cost(bytes: &[u8], max_pixels: u64) -> (u64, u64) {
    let header = caught(|| open(bytes, max_pixels).map(|decoder| (decoder.dimensions(), decoder.color_type())));
    header.map_or((0, 0), |((width, height), colour)| {
        let pixels = u64::from(width) * u64::from(height);
        (pixels, pixels * u64::from(colour.bytes_per_pixel().max(3)))
    })
}

/// The decoders are meant not to panic; a hostile file that finds a way shall cost only itself.
fn caught<T>(decode: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(decode))
        .unwrap_or_else(|_| Err("the decoder failed on it; save the image again".to_owned()))
}

/// As a bitmap, which [`decode`] gives back exactly.
pub(super) fn encode(image: &Rgb8) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let encoder = image::codecs::bmp::BmpEncoder::new(&mut bytes);
    let written = encoder.write_image(&image.pixels, image.width, image.height, image::ExtendedColorType::Rgb8);
    written.expect("a bitmap in memory, of a side that fits");
    bytes.into_inner()
}

fn decode_upright(bytes: &[u8], max_pixels: u64) -> Result<DynamicImage, String> {
    let mut decoder = open(bytes, max_pixels)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(broken)?;
    image.apply_orientation(orientation);
    Ok(image)
}

/// Reads the header, which has to be that of an image of as many pixels at most.
fn open(bytes: &[u8], max_pixels: u64) -> Result<impl ImageDecoder, String> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| e.to_string())?;
    check_format(reader.format(), bytes)?;
    if let Some(reason) = whole::missing(reader.format(), bytes) {
        return Err(reason);
    }
    let mut limits = image::Limits::default();
    // A 16-bit RGBA image takes eight bytes a pixel, and the decoder needs about as much again.
    limits.max_alloc = Some(max_pixels.saturating_mul(16));
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err("the image has no pixels".to_owned());
    }
    if u64::from(width) * u64::from(height) > max_pixels {
        return Err(format!("{width}×{height} pixels are more than the limit of {max_pixels}; send a smaller image"));
    }
    if matches!(decoder.color_type(), ColorType::Rgb32F | ColorType::Rgba32F) {
        return Err("its samples are floating-point numbers; save it with 8 or 16 bits per sample".to_owned());
    }
    Ok(decoder)
}

fn check_format(format: Option<ImageFormat>, bytes: &[u8]) -> Result<(), String> {
    match format {
        Some(ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::Bmp | ImageFormat::WebP | ImageFormat::Tiff) => Ok(()),
        Some(other) => Err(format!("a {other:?} image; {SUPPORTED}")),
        None if bytes.is_empty() => Err("the file is empty".to_owned()),
        None if bytes.starts_with(b"PK\x03\x04") => {
            Err("an archive inside the archive is not opened; put its images into the outer archive".to_owned())
        }
        None => Err(format!("not an image; {SUPPORTED}")),
    }
}

fn broken(error: image::ImageError) -> String {
    format!("the image is broken or incomplete: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ImageEncoder, Luma, RgbImage, Rgba, RgbaImage};

    const LIMIT: u64 = 1_000_000;

    fn encoded(image: &RgbImage, format: ImageFormat) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        image.write_to(&mut out, format).expect("encodes");
        out.into_inner()
    }

    /// Left half red, right half blue, 32×16.
    fn two_halves() -> RgbImage {
        RgbImage::from_fn(32, 16, |x, _| if x < 16 { image::Rgb([250, 0, 0]) } else { image::Rgb([0, 0, 250]) })
    }

    fn pixel(image: &Rgb8, x: u32, y: u32) -> [u8; 3] {
        let at = 3 * (y * image.width + x) as usize;
        image.pixels[at..at + 3].try_into().expect("three bytes")
    }

    #[test]
    fn every_lossless_format_gives_the_pixels_back() {
        for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP, ImageFormat::Tiff] {
            let image: Rgb8 = decode(&encoded(&two_halves(), format), LIMIT).expect("decodes");
            assert_eq!((image.width, image.height), (32, 16));
            assert_eq!((pixel(&image, 0, 0), pixel(&image, 31, 15)), ([250, 0, 0], [0, 0, 250]), "{format:?}");
        }
    }

    #[test]
    fn a_jpeg_held_sideways_is_turned_upright() {
        let jpeg = encoded(&two_halves(), ImageFormat::Jpeg);
        // Right after the start marker: APP1, Exif, one entry: orientation (0x0112) 6, "rotate by 90° to show".
        let tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        let mut sideways = vec![0xFF, 0xD8, 0xFF, 0xE1];
        sideways.extend((2 + 6 + tiff.len() as u16).to_be_bytes());
        sideways.extend(b"Exif\0\0");
        sideways.extend(tiff);
        sideways.extend(&jpeg[2..]);
        let image: Rgb8 = decode(&sideways, LIMIT).expect("decodes");
        assert_eq!((image.width, image.height), (16, 32));
        assert!(pixel(&image, 8, 2)[0] > 200, "what was left is on top now");
        assert!(pixel(&image, 8, 29)[2] > 200, "what was right is at the bottom now");
    }

    #[test]
    fn alpha_is_left_out_and_grey_fills_all_channels() {
        let clear = RgbaImage::from_pixel(2, 2, Rgba([9, 8, 7, 0]));
        let mut png = Vec::new();
        image::codecs::png::PngEncoder::new(&mut png)
            .write_image(&clear, 2, 2, image::ExtendedColorType::Rgba8)
            .expect("encodes");
        assert_eq!(pixel(&decode::<u8>(&png, LIMIT).expect("decodes"), 1, 1), [9, 8, 7]);

        let mut png = Vec::new();
        image::codecs::png::PngEncoder::new(&mut png)
            .write_image(&[5, 6, 7, 8], 2, 2, image::ExtendedColorType::L8)
            .expect("encodes");
        assert_eq!(pixel(&decode::<u8>(&png, LIMIT).expect("decodes"), 1, 0), [6, 6, 6]);
    }

    #[test]
    fn what_is_no_image_is_refused_with_its_reason() {
        let png = encoded(&two_halves(), ImageFormat::Png);
        let cases: [(&[u8], &str); 6] = [
            (b"", "empty"),
            (b"hello", "not an image"),
            (b"PK\x03\x04rest of a zip", "inside the archive"),
            (b"GIF89a\x01\0\x01\0", "Gif"),
            (&png[..png.len() / 2], "incomplete"),
            (&png[..20], "incomplete"),
        ];
        for (bytes, reason) in cases {
            let error = decode::<u8>(bytes, LIMIT).expect_err(reason);
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_png_that_claims_a_billion_pixels_is_refused_before_it_is_decoded() {
        let mut png = encoded(&two_halves(), ImageFormat::Png);
        png[16..20].copy_from_slice(&40_000u32.to_be_bytes());
        png[20..24].copy_from_slice(&40_000u32.to_be_bytes());
        let crc = crc32(&png[12..29]);
        png[29..33].copy_from_slice(&crc.to_be_bytes());
        let error = decode::<u8>(&png, LIMIT).expect_err("too large");
        assert!(error.contains("40000×40000") || error.contains("limit"), "{error}");
    }

    #[test]
    fn sixteen_bits_are_read_as_the_file_has_them_or_shortened() {
        let grey = image::ImageBuffer::from_fn(4, 1, |x, _| Luma([[0u16, 1000, 4095, 65535][x as usize]]));
        for format in [ImageFormat::Png, ImageFormat::Tiff] {
            let mut out = Cursor::new(Vec::new());
            grey.write_to(&mut out, format).expect("encodes");
            let whole: Rgb16 = decode(out.get_ref(), LIMIT).expect("decodes");
            assert_eq!(whole.pixels, [0, 1000, 4095, 65535].map(|value| [value; 3]).concat(), "{format:?}");
            let short: Rgb8 = decode(out.get_ref(), LIMIT).expect("decodes");
            assert_eq!(short.pixels, [0, 4, 16, 255].map(|value| [value; 3]).concat());
        }
        let eight: Rgb16 = decode(&encoded(&two_halves(), ImageFormat::Png), LIMIT).expect("decodes");
        assert_eq!(eight.pixels[..3], [250, 0, 0], "8 bits stay what they are");
    }

    /// A photograph-like image, so that no format packs it into a few bytes.
    fn noise() -> RgbImage {
        RgbImage::from_fn(48, 48, |x, y| image::Rgb([0u32, 7, 13].map(|c| ((x * 37 + y * 91 + c * x * y) % 251) as u8)))
    }

    #[test]
    fn an_image_that_is_cut_off_anywhere_is_refused() {
        use ImageFormat::{Bmp, Jpeg, Png, Tiff, WebP};
        for format in [Jpeg, Png, Bmp, WebP, Tiff] {
            let bytes = encoded(&noise(), format);
            assert_eq!(size(&bytes, LIMIT), Ok((48, 48)), "{format:?}");
            for percent in (1..=99).step_by(2) {
                let cut = &bytes[..bytes.len() * percent / 100];
                assert!(decode::<u8>(cut, LIMIT).is_err(), "{format:?} at {percent} %");
                // A download that was interrupted in a file of the full size.
                let filled = [cut, &vec![0; bytes.len() - cut.len()]].concat();
                let checked = matches!(format, Jpeg | Png | Tiff);
                assert!(
                    !checked || percent > 90 || decode::<u8>(&filled, LIMIT).is_err(),
                    "{format:?} filled at {percent} %"
                );
            }
        }
    }

    #[test]
    fn floating_point_samples_are_refused_by_name() {
        let mut out = Cursor::new(Vec::new());
        let float = image::Rgb32FImage::from_pixel(2, 2, image::Rgb([0.5, 0.5, 0.5]));
        DynamicImage::ImageRgb32F(float).write_to(&mut out, ImageFormat::Tiff).expect("encodes");
        let error = decode::<u8>(out.get_ref(), LIMIT).expect_err("floats");
        assert!(error.contains("floating-point") && error.contains("16 bits"), "{error}");
    }

    /// PNG specification, annex D, bit by bit.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { 0xEDB8_8320 ^ (c >> 1) } else { c >> 1 })
        })
    }
}
