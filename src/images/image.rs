//! One image of a set, and a file that is none.

use std::sync::Arc;

use serde::Serialize;

use super::decode::{self, Rgb, Sample};
use super::error::ImageError;
use super::limits::Limits;

/// One accepted image, still encoded.
#[derive(Debug, Clone)]
pub struct Image {
    /// Name in the archive or folder, `/` between folders.
    pub name: String,
    /// Width in pixels, upright.
    pub width: u32,
    /// Height in pixels, upright.
    pub height: u32,
    /// Class number from 0, if a labels file has one.
    pub label: Option<u32>,
    pub(super) encoded: Arc<[u8]>,
}

/// A file that is no usable image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Its name.
    pub name: String,
    /// The cause and the fix.
    pub reason: String,
}

impl Image {
    /// The image as upright RGB, in samples of 8 or 16 bits.
    ///
    /// # Errors
    /// [`ImageError::Decode`], which cannot happen to an image that was accepted.
    pub fn decode<S: Sample>(&self, limits: &Limits) -> Result<Rgb<S>, ImageError> {
        decode::decode(&self.encoded, limits.pixels)
            .map_err(|detail| ImageError::Decode { name: self.name.clone(), detail })
    }

    /// The bytes as they were uploaded.
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }
}
