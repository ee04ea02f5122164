//! Images and archives as customers send them.

use std::io::{Cursor, Write};

use image::{ImageFormat, RgbImage};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// A square PNG of random colours.
pub fn png(side: u32, seed: u64) -> Vec<u8> {
    png_of(side, seed, |random| image::Rgb(random.random()))
}

/// A square PNG of random greys, with three channels.
fn grey_png(side: u32, seed: u64) -> Vec<u8> {
    png_of(side, seed, |random| image::Rgb([random.random(); 3]))
}

fn png_of(side: u32, seed: u64, pixel: impl Fn(&mut ChaCha8Rng) -> image::Rgb<u8>) -> Vec<u8> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let image = RgbImage::from_fn(side, side, |_, _| pixel(&mut random));
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).expect("a PNG");
    bytes.into_inner()
}

/// A zip of these files.
pub fn zip(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        zip.start_file(*name, SimpleFileOptions::default()).expect("an entry");
        zip.write_all(bytes).expect("its bytes");
    }
    zip.finish().expect("a zip").into_inner()
}

/// A zip of `count` different square images.
pub fn image_zip(count: usize, side: u32) -> Vec<u8> {
    zip_of(count, |seed| png(side, seed))
}

/// The same of greys.
pub fn grey_image_zip(count: usize, side: u32) -> Vec<u8> {
    zip_of(count, |seed| grey_png(side, seed))
}

fn zip_of(count: usize, image: impl Fn(u64) -> Vec<u8>) -> Vec<u8> {
    let names: Vec<String> = (0..count).map(|index| format!("{index:03}.png")).collect();
    let files: Vec<(&str, Vec<u8>)> = names.iter().zip(0..).map(|(name, seed)| (name.as_str(), image(seed))).collect();
    zip(&files)
}
