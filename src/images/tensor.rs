//! Images as one float tensor.

use std::ops::Range;

use super::error::ImageError;
use super::preprocess::{Chw, Preprocess};
use super::set::ImageSet;

/// Images as a network takes them: (N,C,H,W), row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Number of images.
    pub n: usize,
    /// Channels.
    pub c: usize,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
    /// `n × c × h × w` values.
    pub data: Vec<f32>,
}

impl Batch {
    /// Values of one image (C,H,W).
    pub fn image(&self, index: usize) -> &[f32] {
        let size = self.c * self.h * self.w;
        &self.data[index * size..(index + 1) * size]
    }

    /// The images at these indices, in this order; repetition is fine.
    pub fn gather(&self, indices: &[usize]) -> Self {
        let data = indices.iter().flat_map(|index| self.image(*index)).copied().collect();
        Self { n: indices.len(), data, ..*self }
    }

    /// The sizes, outermost first.
    pub fn dims(&self) -> [usize; 4] {
        [self.n, self.c, self.h, self.w]
    }
}

impl ImageSet {
    /// All images as one tensor, in the order of [`ImageSet::images`].
    ///
    /// # Errors
    /// Images that do not come out at `size` (see [`Preprocess::check`], which also resolves `size`); a tensor beyond
    /// the limit.
    pub fn tensor_data(&self, preprocess: &Preprocess, size: Chw) -> Result<Batch, ImageError> {
        self.tensor_of(preprocess, size, 0..self.len())
    }

    /// Some of the images as one tensor, for sets that are walked through in batches. Panics where the range leaves
    /// the set: a bug of the caller. Errors as [`Self::tensor_data`].
    pub fn tensor_of(&self, preprocess: &Preprocess, size: Chw, range: Range<usize>) -> Result<Batch, ImageError> {
        let Chw { channels: c, height: h, width: w } = size;
        self.check_tensor_size(range.len(), c * h * w)?;
        let mut data = Vec::with_capacity(range.len() * c * h * w);
        for image in &self.images()[range.clone()] {
            let (found, values) = preprocess.input(image, &self.limits, c)?;
            if found != size {
                return Err(ImageError::InputMismatch {
                    detail: format!(
                        "image {:?} has {}×{} pixels after preprocessing, not {w}×{h}",
                        image.name, found.width, found.height
                    ),
                    hint: "set preprocess so that all images have the same size".to_owned(),
                });
            }
            data.extend(values);
        }
        Ok(Batch { n: range.len(), c, h, w, data })
    }

    fn check_tensor_size(&self, images: usize, values: usize) -> Result<(), ImageError> {
        let found = (images as u64).saturating_mul(values as u64).saturating_mul(4);
        if found <= self.limits.tensor_bytes {
            return Ok(());
        }
        Err(ImageError::TooLarge {
            what: "bytes of all images as floats:".to_owned(),
            found,
            limit: self.limits.tensor_bytes,
            way_out: "use fewer images, or resize them smaller",
        })
    }
}
