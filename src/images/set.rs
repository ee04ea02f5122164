//! The set itself: accepted images in the order of their names, and the refused files with their reasons.

use std::fs::File;
use std::io::{Cursor, Read, Seek};
use std::path::Path;

use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use super::archive::{self, Contents};
use super::decode;
use super::error::ImageError;
use super::folder;
use super::image::{Image, Refused};
use super::labels::Labels;
use super::limits::Limits;
use super::procedural;
use crate::hash::hex;

/// Images that decode, sorted by name, so that the same set gives the same job wherever it was packed.
#[derive(Debug, Clone)]
pub struct ImageSet {
    images: Vec<Image>,
    refused: Vec<Refused>,
    pub(super) limits: Limits,
}

impl ImageSet {
    /// From a zip on disk.
    ///
    /// # Errors
    /// Faults of the whole archive, and a set without one usable image.
    pub fn from_zip(path: &Path, limits: &Limits) -> Result<Self, ImageError> {
        let file = File::open(path).map_err(|e| ImageError::io(path, e))?;
        let size = file.metadata().map_err(|e| ImageError::io(path, e))?.len();
        Self::from_zip_reader(std::io::BufReader::new(file), size, limits)
    }

    /// From a zip in memory. Errors as [`Self::from_zip`].
    pub fn from_zip_bytes(bytes: &[u8], limits: &Limits) -> Result<Self, ImageError> {
        Self::from_zip_reader(Cursor::new(bytes), bytes.len() as u64, limits)
    }

    fn from_zip_reader<R: Read + Seek>(reader: R, size: u64, limits: &Limits) -> Result<Self, ImageError> {
        if size > limits.archive_bytes {
            return Err(ImageError::TooLarge {
                what: "bytes of the archive:".to_owned(),
                found: size,
                limit: limits.archive_bytes,
                way_out: "send fewer or smaller images",
            });
        }
        Self::from_contents(archive::read(reader, size, limits)?, limits)
    }

    /// From a folder and its sub-folders; links in it are refused. Errors as [`Self::from_zip`].
    pub fn from_dir(path: &Path, limits: &Limits) -> Result<Self, ImageError> {
        Self::from_contents(folder::read(path, limits)?, limits)
    }

    /// From a zip or a folder, whichever `path` is. Errors as [`Self::from_zip`].
    pub fn open(path: &Path, limits: &Limits) -> Result<Self, ImageError> {
        if path.is_dir() { Self::from_dir(path, limits) } else { Self::from_zip(path, limits) }
    }

    /// From single files as name and bytes, such as the parts of an upload. Errors as [`Self::from_zip`].
    pub fn from_files(files: Vec<(String, Vec<u8>)>, limits: &Limits) -> Result<Self, ImageError> {
        let sent = files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        let mut contents = Contents { sent, ..Contents::default() };
        for (name, bytes) in files {
            match archive::odd_name(&name) {
                Some(reason) => contents.refuse(archive::shortened(&name), reason),
                None => contents.take(name, bytes)?,
            }
        }
        Self::from_contents(contents, limits)
    }

    /// Procedural images ([`procedural`]), all of the same size; the same random numbers give the same images.
    pub fn procedural(count: usize, width: u32, height: u32, random: &mut ChaCha8Rng) -> Self {
        let draw = |index: usize| Image {
            name: format!("procedural-{index:05}"),
            width,
            height,
            label: None,
            encoded: decode::encode(&procedural::picture(width, height, random)).into(),
        };
        Self { images: (0..count.max(1)).map(draw).collect(), refused: Vec::new(), limits: Limits::default() }
    }

    /// Only the images at these indices, which are in order; at least one.
    pub fn only(self, indices: &[usize]) -> Self {
        let images = indices.iter().map(|index| self.images[*index].clone()).collect();
        Self { images, ..self }
    }

    fn from_contents(contents: Contents, limits: &Limits) -> Result<Self, ImageError> {
        let Contents { mut files, mut refused, labels, sent } = contents;
        files.sort_by(|a, b| a.0.cmp(&b.0));
        if let Some(pair) = files.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(ImageError::DuplicateName(pair[0].0.clone()));
        }
        check_cost(&files, sent, limits)?;
        let mut images = Vec::new();
        for (name, bytes) in files {
            // Decoded once here, so that a set that was accepted is known to be usable.
            match decode::size(&bytes, limits.pixels) {
                Ok((width, height)) => {
                    images.push(Image { name, width, height, label: None, encoded: bytes.into() });
                }
                Err(reason) => refused.push(Refused { name, reason }),
            }
        }
        refused.sort_by(|a, b| a.name.cmp(&b.name));
        if images.is_empty() {
            return Err(ImageError::NoImages { reasons: first_reasons(&refused) });
        }
        let set = Self { images, refused, limits: limits.clone() };
        match labels {
            Some(csv) => set.with_labels(&csv),
            None => Ok(set),
        }
    }

    /// Adds labels from a csv (`file,label`, class numbers); they replace those that the archive brought.
    ///
    /// # Errors
    /// A csv that cannot be read, or that names none of the images.
    pub fn with_labels(mut self, csv: &[u8]) -> Result<Self, ImageError> {
        let labels = Labels::parse(csv)?;
        for image in &mut self.images {
            image.label = labels.of(&image.name);
        }
        if self.labelled() == 0 {
            let example = &self.images[0].name;
            return Err(ImageError::Labels(format!("no line matches any image (such as {example:?})")));
        }
        Ok(self)
    }

    /// The accepted images, sorted by name; never empty.
    pub fn images(&self) -> &[Image] {
        &self.images
    }

    /// The refused files, sorted by name.
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// Number of accepted images.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// False: a set without an image cannot be made.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// Number of images with a label.
    pub fn labelled(&self) -> usize {
        self.images.iter().filter(|image| image.label.is_some()).count()
    }

    /// SHA-256 over the names and bytes of the accepted images, which identifies a set independently of its packing.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        for image in &self.images {
            hash.update((image.name.len() as u64).to_le_bytes());
            hash.update(image.name.as_bytes());
            hash.update((image.encoded.len() as u64).to_le_bytes());
            hash.update(&image.encoded);
        }
        hex(&hash.finalize())
    }
}

/// Before one of them is decoded, by their headers: a file of a few kilobytes may hold as many pixels as one image may have.
fn check_cost(files: &[(String, Vec<u8>)], sent: u64, limits: &Limits) -> Result<(), ImageError> {
    let costs = files.iter().map(|(_, bytes)| decode::cost(bytes, limits.pixels));
    let (pixels, decoded) = costs.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
    let over = |what, found, limit| {
        let way_out = "scale the images down to the network's input size, or send fewer";
        if found > limit { Err(ImageError::TooLarge { what, found, limit, way_out }) } else { Ok(()) }
    };
    over("pixels of all images together:".to_owned(), pixels, limits.set_pixels)?;
    over(format!("bytes of all images together, decoded from {sent}:"), decoded, limits.decoded(sent))
}

fn first_reasons(refused: &[Refused]) -> String {
    if refused.is_empty() {
        return "it holds no file".to_owned();
    }
    let mut reasons: Vec<_> = refused.iter().take(3).map(|r| format!("{}: {}", r.name, r.reason)).collect();
    if refused.len() > 3 {
        reasons.push(format!("and {} more", refused.len() - 3));
    }
    reasons.join("; ")
}

#[cfg(test)]
#[path = "set_tests.rs"]
mod tests;
