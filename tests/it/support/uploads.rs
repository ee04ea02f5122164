//! Images and archives as customers send them.

use std::io::{Cursor, Read, Write};

use image::{ImageFormat, RgbImage};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// A square PNG of random colours around one of its own: networks answer differently to images that differ as wholes.
pub fn png(side: u32, seed: u64) -> Vec<u8> {
    let base: [u8; 3] = ChaCha8Rng::seed_from_u64(!seed).random();
    png_of(side, seed, |random| image::Rgb(base.map(|base| base / 2 + random.random_range(0..128))))
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

/// A black PNG, so well packed that it has a thousandth of its decoded bytes. `colour` is its type in the header: 0 is grey, 6 is red,
/// green, blue and alpha.
pub fn flat_png(width: u32, height: u32, bits: u8, colour: u8) -> Vec<u8> {
    let channels = if colour == 6 { 4 } else { 1 };
    let row = 1 + (u64::from(width) * channels * u64::from(bits)).div_ceil(8);
    let zeros = row * u64::from(height);
    // A row's filter and samples are zero; Adler-32 of n zeros is n mod 65521 and 1.
    let adler = ((zeros % 65521) as u32) << 16 | 1;
    let data = [b"\x78\x01", &deflated(zeros)[..], &adler.to_be_bytes()].concat();
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[bits, colour, 0, 0, 0]].concat();
    let chunks = [(b"IHDR", header), (b"IDAT", data), (b"IEND", Vec::new())];
    let chunks = chunks.map(|(name, data)| {
        let named = [name, &data[..]].concat();
        [&(data.len() as u32).to_be_bytes()[..], &named, &crc32(&named).to_be_bytes()].concat()
    });
    [b"\x89PNG\r\n\x1a\n", &chunks.concat()[..]].concat()
}

/// So many zero bytes as a raw deflate stream, taken out of a zip.
fn deflated(zeros: u64) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("zeros", SimpleFileOptions::default()).expect("an entry");
    std::io::copy(&mut std::io::repeat(0).take(zeros), &mut zip).expect("its bytes");
    let mut archive = zip::ZipArchive::new(zip.finish().expect("a zip")).expect("a zip");
    let mut packed = Vec::new();
    archive.by_index_raw(0).expect("the entry").read_to_end(&mut packed).expect("its bytes");
    packed
}

/// PNG specification, annex D, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { 0xEDB8_8320 ^ (c >> 1) } else { c >> 1 })
    })
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

/// A zip of these many files of 64 MiB of zeros.
pub fn bomb(files: usize) -> Vec<u8> {
    let mut one = zip::ZipArchive::new(Cursor::new(zip(&[("zeros", vec![0; 64 << 20])]))).expect("a zip");
    let mut all = ZipWriter::new(Cursor::new(Vec::new()));
    for index in 0..files {
        all.raw_copy_file_rename(one.by_index_raw(0).expect("the entry"), format!("{index}.png")).expect("copied");
    }
    all.finish().expect("a zip").into_inner()
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
