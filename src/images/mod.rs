//! The customer's images: read from a zip or a folder with nothing in it trusted, decoded, and turned into the tensor
//! that a network was trained on.
//!
//! A fault of the whole upload (not a zip, a zip bomb, a path that leaves the archive) is an [`ImageError`]; a single
//! file that is no usable image is listed as [`Refused`] and the rest goes on. Images stay encoded in memory and are
//! decoded when they are needed, since decoded photographs are ten times larger. If a customer has no images, a program
//! draws some ([`ImageSet::procedural`]).

mod archive;
mod decode;
mod error;
mod folder;
mod image;
mod labels;
mod limits;
mod preprocess;
mod procedural;
mod resize;
mod set;
mod tensor;
mod whole;

pub use decode::{Rgb, Rgb8, Rgb16, Sample};
pub use error::{ImageError, PreprocessFault};
pub use image::{Image, Refused};
pub use limits::Limits;
pub use preprocess::{Chw, Extent, ModelInput, Preprocess};
pub use resize::Interpolation;
pub use set::ImageSet;
pub use tensor::Batch;
