//! From pixels to the numbers a network was trained on: resize, centre crop, scale, normalise.
//!
//! The arithmetic is torchvision's (`Resize`, `CenterCrop`, `Normalize`) on Pillow's filters, of which bilinear is what
//! most networks saw in training; an odd margin is cut with its smaller half at the top and left.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::decode::{Rgb, Sample};
use super::error::{ImageError, PreprocessFault};
use super::image::Image;
use super::limits::Limits;
use super::resize::{Interpolation, resized};

/// How an image becomes a network's input. All fields are optional; nothing given means RGB / 255 at the image's own
/// size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Preprocess {
    /// Length of the short side after resizing (the other side follows), or exactly `[height, width]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resize: Option<Extent>,
    /// Side of the centre square that is kept, or `[height, width]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop: Option<Extent>,
    /// Filter of the resize.
    pub interpolation: Interpolation,
    /// Bits of a sample that are read, 8 or 16. With 16, samples are what the file has: 0–65535 of a 16-bit image, 0–255 of an
    /// 8-bit one. If omitted, 16 when `divide_by` is above 256, else 8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits: Option<u8>,
    /// Divisor of the samples: 255, or the largest value of images with more bits, such as 4095 or 65535.
    pub divide_by: f32,
    /// Subtracted after dividing; one number for all channels or one for each.
    pub mean: Vec<f32>,
    /// Divided by after subtracting; one number for all channels or one for each.
    pub std: Vec<f32>,
}

/// A size in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a number of pixels or [height, width]")]
pub enum Extent {
    /// One number: the short side (resize) or a square (crop).
    Side(u32),
    /// Height and width.
    HeightWidth([u32; 2]),
}

/// Size of a model's input without the batch; `None` if it is dynamic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ModelInput {
    /// Colour channels.
    pub channels: Option<usize>,
    /// Rows.
    pub height: Option<usize>,
    /// Columns.
    pub width: Option<usize>,
}

/// A resolved input size: channels, height, width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chw {
    /// Colour channels, 1 or 3.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// No network takes a larger side, and a resize beyond it would be an attack on memory.
const MAX_SIDE: u32 = 8192;

/// Sample values above 256 (by which 8-bit images are divided, too) ask for 16 bits.
const MOST_EIGHT_BITS: f32 = 256.0;

/// Maximum size of procedural images; some dozens of them are in memory at a time.
const MAX_DRAWN_PIXELS: usize = 2048 * 2048;

impl Preprocess {
    /// The float input of one image, (C,H,W) with `channels` 3 (RGB) or 1 (grey as Pillow's `L`), and its size.
    ///
    /// # Errors
    /// An image that the resize or crop cannot be applied to; [`Self::check`] finds those ahead.
    pub fn input(&self, image: &Image, limits: &Limits, channels: usize) -> Result<(Chw, Vec<f32>), ImageError> {
        if self.sixteen_bits() {
            self.apply(&image.decode::<u16>(limits)?, channels)
        } else {
            self.apply(&image.decode::<u8>(limits)?, channels)
        }
    }

    /// The same of an image that is decoded. Errors as [`Self::input`].
    pub fn apply<S: Sample>(&self, image: &Rgb<S>, channels: usize) -> Result<(Chw, Vec<f32>), ImageError> {
        let (height, width) = self.output_size(image.width, image.height).map_err(|detail| self.misfit(detail))?;
        let pixels = self.resized(image);
        let window = Window::centred(&pixels, height, width);
        let mut data = Vec::with_capacity(channels * height * width);
        for channel in 0..channels {
            let (mean, std) = (pick(&self.mean, channel), pick(&self.std, channel));
            let normal = |value: S| (Into::<f32>::into(value) / self.divide_by - mean) / std;
            data.extend(window.pixels().map(|rgb| normal(if channels == 1 { grey(rgb) } else { rgb[channel] })));
        }
        Ok((Chw { channels, height, width }, data))
    }

    /// Resolves a model's input against these images: fixed sizes are compared with every preprocessed image, dynamic ones are
    /// taken from the images.
    ///
    /// # Errors
    /// [`ImageError::Preprocess`] if a field is invalid; [`ImageError::InputMismatch`], with the preprocessing that fixes it,
    /// if preprocessed images do not have the model's size or do not all have the same size.
    pub fn check(&self, model: ModelInput, images: &[Image]) -> Result<Chw, ImageError> {
        self.check_sizes(model, images.iter().map(|image| (image.name.as_str(), image.width, image.height)))
    }

    /// The same for images of which only (name, width, height) are known. Errors as [`Self::check`].
    pub fn check_sizes<'a>(
        &self,
        model: ModelInput,
        images: impl IntoIterator<Item = (&'a str, u32, u32)>,
    ) -> Result<Chw, ImageError> {
        let channels = model.channels.unwrap_or(3);
        let faults = self.faults(channels);
        if !faults.is_empty() {
            return Err(ImageError::Preprocess(faults));
        }
        if channels != 1 && channels != 3 {
            return Err(ImageError::InputMismatch {
                detail: format!("the model takes {channels} channels, but images have 3 (or 1 as grey)"),
                hint: "use a model with 1 or 3 input channels".to_owned(),
            });
        }
        let mut wanted: Option<(usize, usize)> = model.height.zip(model.width);
        for image @ (_, width, height) in images {
            let size = self
                .output_size(width, height)
                .and_then(|size| fits(size, model, wanted).map(|()| size))
                .map_err(|detail| mismatch(image, detail, model, wanted))?;
            wanted = Some(size);
        }
        let (height, width) = wanted.unwrap_or_default();
        Ok(Chw { channels, height, width })
    }

    /// The same without images: the size of procedural images. Errors as [`Self::check`].
    pub fn size_without_images(&self, model: ModelInput) -> Result<Chw, ImageError> {
        let faults = self.faults(model.channels.unwrap_or(3));
        if !faults.is_empty() {
            return Err(ImageError::Preprocess(faults));
        }
        let fixed = model.height.zip(model.width);
        let wished = match (self.crop, self.resize) {
            (Some(extent), _) | (None, Some(extent)) => Some(extent.at_most()).map(|[h, w]| (h as usize, w as usize)),
            (None, None) => None,
        };
        let Some((height, width)) = fixed.or(wished) else {
            return Err(ImageError::InputMismatch {
                detail: "the model's height or width is dynamic, and there are no images to determine it".to_owned(),
                hint: "set preprocess.crop to the size that you use the model with, such as 224".to_owned(),
            });
        };
        if height.saturating_mul(width) > MAX_DRAWN_PIXELS {
            return Err(ImageError::InputMismatch {
                detail: format!("the model takes {width}×{height} pixels, which is too large for synthetic images"),
                hint: "upload a few images of the kind that you use the model on".to_owned(),
            });
        }
        self.drawn().check_sizes(model, [("a synthetic image", width as u32, height as u32)])
    }

    /// What is left to do to a picture that was drawn at the model's size, with 8 bits: its white becomes what white is.
    pub fn drawn(&self) -> Self {
        let divide_by = self.divide_by * (255.0 / self.white());
        Self { resize: None, crop: None, bits: Some(8), divide_by, ..self.clone() }
    }

    /// The sample of a white pixel, ahead of `divide_by`: 255, or the largest that images of more bits can have.
    pub fn white(&self) -> f32 {
        match self.sixteen_bits() {
            false => 255.0,
            true if self.divide_by > MOST_EIGHT_BITS => self.divide_by.min(65535.0),
            true => 65535.0,
        }
    }

    fn sixteen_bits(&self) -> bool {
        self.bits.map_or(self.divide_by > MOST_EIGHT_BITS, |bits| bits == 16)
    }

    /// Fields that make no sense by themselves, for a model with `channels` channels.
    pub fn faults(&self, channels: usize) -> Vec<PreprocessFault> {
        let mut faults = Vec::new();
        let mut fault = |field, detail: String, hint| faults.push(PreprocessFault { field, detail, hint });
        for (field, extent) in [("resize", self.resize), ("crop", self.crop)] {
            let sides = extent.map_or([1, 1], |extent| extent.at_most());
            if sides.iter().any(|side| !(1..=MAX_SIDE).contains(side)) {
                fault(
                    field,
                    format!("a side of {} pixels is out of range", sides[0].max(sides[1])),
                    "give 1 to 8192 pixels",
                );
            }
        }
        if !self.divide_by.is_finite() || self.divide_by <= 0.0 {
            fault(
                "divide_by",
                format!("values cannot be divided by {}", self.divide_by),
                "give 255, or 1 for raw values",
            );
        }
        if let Some(bits) = self.bits.filter(|bits| ![8, 16].contains(bits)) {
            fault("bits", format!("samples cannot have {bits} bits"), "give 8 or 16, or omit it");
        }
        for (field, values) in [("mean", &self.mean), ("std", &self.std)] {
            if values.len() != 1 && values.len() != channels {
                let detail = format!("{} numbers for a model of {channels} channels", values.len());
                fault(field, detail, "give one number, or one for each channel");
            }
            if values.iter().any(|value| !value.is_finite() || (field == "std" && *value <= 0.0)) {
                fault(field, format!("{values:?} contains an invalid number"), "give finite numbers, std above 0");
            }
        }
        faults
    }

    /// Height and width of a preprocessed image of this size, or an error.
    pub fn output_size(&self, width: u32, height: u32) -> Result<(usize, usize), String> {
        let (tall, wide) = self.resized_size(width, height);
        if tall.max(wide) > u64::from(MAX_SIDE) && self.resize.is_some() {
            return Err(format!("resizing {width}×{height} gives {wide}×{tall}, more than 8192 pixels on a side"));
        }
        if tall.min(wide) == 0 {
            return Err("the resized image would have a side of 0 pixels".to_owned());
        }
        let Some(crop) = self.crop else { return Ok((tall as usize, wide as usize)) };
        let [high, broad] = crop.at_most();
        if u64::from(high) > tall || u64::from(broad) > wide {
            return Err(format!("{wide}×{tall} is smaller than the crop of {broad}×{high}"));
        }
        Ok((high as usize, broad as usize))
    }

    /// Height and width after resizing; the long side is rounded down, as in torchvision.
    fn resized_size(&self, width: u32, height: u32) -> (u64, u64) {
        let (tall, wide) = (u64::from(height.max(1)), u64::from(width.max(1)));
        match self.resize {
            None => (tall, wide),
            Some(Extent::HeightWidth([h, w])) => (u64::from(h), u64::from(w)),
            Some(Extent::Side(side)) if wide <= tall => (u64::from(side) * tall / wide, u64::from(side)),
            Some(Extent::Side(side)) => (u64::from(side), u64::from(side) * wide / tall),
        }
    }

    fn resized<'a, S: Sample>(&self, image: &'a Rgb<S>) -> Cow<'a, Rgb<S>> {
        let (height, width) = self.resized_size(image.width, image.height);
        if (height, width) == (image.height.into(), image.width.into()) {
            return Cow::Borrowed(image);
        }
        Cow::Owned(resized(image, width as u32, height as u32, self.interpolation))
    }

    fn misfit(&self, detail: String) -> ImageError {
        ImageError::InputMismatch {
            detail,
            hint: "set preprocess so that every image is at least as large as the crop".to_owned(),
        }
    }
}

impl Default for Preprocess {
    fn default() -> Self {
        Self {
            resize: None,
            crop: None,
            interpolation: Interpolation::default(),
            bits: None,
            divide_by: 255.0,
            mean: vec![0.0],
            std: vec![1.0],
        }
    }
}

impl Extent {
    /// Height and width, a single number counting for both.
    fn at_most(self) -> [u32; 2] {
        match self {
            Self::Side(side) => [side, side],
            Self::HeightWidth(sides) => sides,
        }
    }
}

/// The part of an image that a centre crop keeps.
struct Window<'a, S> {
    image: &'a Rgb<S>,
    top: usize,
    left: usize,
    height: usize,
    width: usize,
}

impl<'a, S: Sample> Window<'a, S> {
    fn centred(image: &'a Rgb<S>, height: usize, width: usize) -> Self {
        let (top, left) = ((image.height as usize - height) / 2, (image.width as usize - width) / 2);
        Self { image, top, left, height, width }
    }

    fn pixels(&self) -> impl Iterator<Item = [S; 3]> + '_ {
        (self.top..self.top + self.height).flat_map(move |row| {
            let start = 3 * (row * self.image.width as usize + self.left);
            let line = &self.image.pixels[start..start + 3 * self.width];
            line.chunks_exact(3).map(|rgb| [rgb[0], rgb[1], rgb[2]])
        })
    }
}

/// ITU-R 601 luma in 16-bit fixed point, as Pillow's conversion to `L`.
fn grey<S: Sample>(rgb: [S; 3]) -> S {
    let [r, g, b] = rgb.map(Into::<u32>::into).map(u64::from);
    S::from_bits(((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16) as u32)
}

fn pick(values: &[f32], channel: usize) -> f32 {
    values[if values.len() == 1 { 0 } else { channel }]
}

fn fits((tall, wide): (usize, usize), model: ModelInput, wanted: Option<(usize, usize)>) -> Result<(), String> {
    let model_fits = model.height.is_none_or(|h| h == tall) && model.width.is_none_or(|w| w == wide);
    if model_fits && wanted.is_none_or(|size| size == (tall, wide)) {
        return Ok(());
    }
    Err(format!("preprocessing gives {wide}×{tall}"))
}

fn mismatch(
    (name, width, height): (&str, u32, u32),
    detail: String,
    model: ModelInput,
    wanted: Option<(usize, usize)>,
) -> ImageError {
    let fixed = model.height.is_some() || model.width.is_some();
    let takes = match (model.height, model.width) {
        (Some(height), Some(width)) => format!("the model takes {width}×{height}"),
        (Some(height), None) => format!("the model takes {height} rows"),
        (None, Some(width)) => format!("the model takes {width} columns"),
        (None, None) => "all images must have the same size".to_owned(),
    };
    let before = wanted.filter(|_| !fixed).map(|(h, w)| format!(" (the first is {w}×{h})")).unwrap_or_default();
    ImageError::InputMismatch {
        detail: format!("image {name:?} is {width}×{height} (width×height): {detail}, and {takes}{before}"),
        hint: mending(model.height.or(wanted.map(|s| s.0)), model.width.or(wanted.map(|s| s.1))),
    }
}

/// The preprocessing that makes any image the right size: resize a little larger, then cut, as networks are usually
/// tested; small inputs are cut from exactly their size.
fn mending(height: Option<usize>, width: Option<usize>) -> String {
    let (height, width) = (height.or(width).unwrap_or(224), width.or(height).unwrap_or(224));
    if height != width {
        return format!("set preprocess to {{\"resize\": [{height}, {width}]}}");
    }
    let resize = if height >= 96 { (height * 8).div_ceil(7) } else { height };
    format!("set preprocess to {{\"resize\": {resize}, \"crop\": {height}}}")
}

#[cfg(test)]
#[path = "preprocess_tests.rs"]
mod tests;
