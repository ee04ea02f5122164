//! The core's errors as problems: the kind, the words, and the single faults with their places.

use crate::compress::CompressError;
use crate::images::ImageError;
use crate::problem::{Code, Problem};

/// What a customer is told about an error of the core.
pub fn problem(error: &CompressError) -> Problem {
    match error {
        CompressError::Images(error) => images(error),
        _ => Problem::new(Code::from_code(error.code()).unwrap_or(Code::Internal), error.to_string()),
    }
}

/// What a customer is told about an image set.
pub fn images(error: &ImageError) -> Problem {
    Problem::new(Code::from_code(error.code()).unwrap_or(Code::InvalidArchive), error.to_string())
}
