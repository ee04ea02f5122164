//! Encoded bytes to upright RGB, and pixels of our own back to bytes.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageEncoder as _, ImageFormat, ImageReader};

/// A decoded image: 8-bit RGB, row by row, upright.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rgb8 {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `height × width × 3` bytes (H,W,C).
    pub pixels: Vec<u8>,
}

const SUPPORTED: &str = "JPEG, PNG, BMP and WebP are read";

/// Decodes JPEG, PNG, BMP or WebP by content, whatever the name says, and applies the EXIF orientation. An alpha
/// channel is left out and 16-bit samples are shortened. The error is the reason that a customer reads.
pub(super) fn decode(bytes: &[u8], max_pixels: u64) -> Result<Rgb8, String> {
    // The decoders are meant not to panic; a hostile file that finds a way shall cost only itself.
    catch_unwind(AssertUnwindSafe(|| decode_upright(bytes, max_pixels)))
        .unwrap_or_else(|_| Err("the decoder failed on it; save the image anew".to_owned()))
}

/// Width × height by the header alone; 0 where [`decode`] refuses the file for what stands there.
pub(super) fn pixels(bytes: &[u8], max_pixels: u64) -> u64 {
    let opened = catch_unwind(AssertUnwindSafe(|| open(bytes, max_pixels).map(|decoder| decoder.dimensions())));
    opened.ok().and_then(Result::ok).map_or(0, |(width, height)| u64::from(width) * u64::from(height))
}

/// As a bitmap, which [`decode`] gives back exactly.
pub(super) fn encode(image: &Rgb8) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let encoder = image::codecs::bmp::BmpEncoder::new(&mut bytes);
    let written = encoder.write_image(&image.pixels, image.width, image.height, image::ExtendedColorType::Rgb8);
    written.expect("a bitmap in memory, of a side that fits");
    bytes.into_inner()
}

fn decode_upright(bytes: &[u8], max_pixels: u64) -> Result<Rgb8, String> {
    let mut decoder = open(bytes, max_pixels)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(broken)?;
    image.apply_orientation(orientation);
    let rgb = image.into_rgb8();
    Ok(Rgb8 { width: rgb.width(), height: rgb.height(), pixels: rgb.into_raw() })
}

/// Reads the header, which has to be that of an image of as many pixels at most.
fn open(bytes: &[u8], max_pixels: u64) -> Result<impl ImageDecoder, String> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| e.to_string())?;
    check_format(reader.format(), bytes)?;
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
        return Err(format!("{width}×{height} pixels are more than the limit of {max_pixels}; send it smaller"));
    }
    Ok(decoder)
}

fn check_format(format: Option<ImageFormat>, bytes: &[u8]) -> Result<(), String> {
    match format {
        Some(ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::Bmp | ImageFormat::WebP) => Ok(()),
        Some(other) => Err(format!("a {other:?} image; {SUPPORTED}")),
        None if bytes.is_empty() => Err("the file is empty".to_owned()),
        None if bytes.starts_with(b"PK\x03\x04") => {
            Err("an archive inside the archive is not opened; put its images beside the others".to_owned())
        }
        None => Err(format!("not an image; {SUPPORTED}")),
    }
}

fn broken(error: image::ImageError) -> String {
    format!("the image is broken or cut off: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ImageEncoder, Rgb, RgbImage, Rgba, RgbaImage};

    const LIMIT: u64 = 1_000_000;

    fn encoded(image: &RgbImage, format: ImageFormat) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        image.write_to(&mut out, format).expect("encodes");
        out.into_inner()
    }

    /// Left half red, right half blue, 32×16.
    fn two_halves() -> RgbImage {
        RgbImage::from_fn(32, 16, |x, _| if x < 16 { Rgb([250, 0, 0]) } else { Rgb([0, 0, 250]) })
    }

    fn pixel(image: &Rgb8, x: u32, y: u32) -> [u8; 3] {
        let at = 3 * (y * image.width + x) as usize;
        image.pixels[at..at + 3].try_into().expect("three bytes")
    }

    #[test]
    fn every_lossless_format_gives_the_pixels_back() {
        for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP] {
            let image = decode(&encoded(&two_halves(), format), LIMIT).expect("decodes");
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
        let image = decode(&sideways, LIMIT).expect("decodes");
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
        assert_eq!(pixel(&decode(&png, LIMIT).expect("decodes"), 1, 1), [9, 8, 7]);

        let mut png = Vec::new();
        image::codecs::png::PngEncoder::new(&mut png)
            .write_image(&[5, 6, 7, 8], 2, 2, image::ExtendedColorType::L8)
            .expect("encodes");
        assert_eq!(pixel(&decode(&png, LIMIT).expect("decodes"), 1, 0), [6, 6, 6]);
    }

    #[test]
    fn what_is_no_image_is_refused_with_its_reason() {
        let png = encoded(&two_halves(), ImageFormat::Png);
        let cases: [(&[u8], &str); 6] = [
            (b"", "empty"),
            (b"hello", "not an image"),
            (b"PK\x03\x04rest of a zip", "inside the archive"),
            (b"GIF89a\x01\0\x01\0", "Gif"),
            (&png[..png.len() / 2], "cut off"),
            (&png[..20], "cut off"),
        ];
        for (bytes, reason) in cases {
            let error = decode(bytes, LIMIT).expect_err(reason);
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
        let error = decode(&png, LIMIT).expect_err("too large");
        assert!(error.contains("40000×40000") || error.contains("limit"), "{error}");
    }

    /// PNG specification, annex D, bit by bit.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { 0xEDB8_8320 ^ (c >> 1) } else { c >> 1 })
        })
    }
}
