//! How far two tensors are apart.

use tch::Tensor;

use crate::compress::CompressError;

/// Largest difference of two tensors, relative to the first one's largest finite element. The difference is 0 if both are
/// the same infinity or both NaN, as behind a mask; NaN or infinite where only one of them is.
pub fn relative_difference(reference: &Tensor, other: &Tensor) -> Result<f64, CompressError> {
    difference_on_a_scale(reference, other, f64::MIN_POSITIVE)
}

/// The same, relative to `least` if no element is as large.
pub fn difference_on_a_scale(reference: &Tensor, other: &Tensor, least: f64) -> Result<f64, CompressError> {
    let finite = reference.f_masked_fill(&reference.f_isfinite()?.f_logical_not()?, 0.0)?;
    let scale = finite.f_abs()?.f_max()?.f_double_value(&[])?.max(least);
    let no_numbers = reference.f_isnan()?.f_logical_and(&other.f_isnan()?)?;
    let alike = reference.f_eq_tensor(other)?.f_logical_or(&no_numbers)?;
    let apart = reference.f_sub(other)?.f_abs()?.f_masked_fill(&alike, 0.0)?;
    Ok(apart.f_max()?.f_double_value(&[])? / scale)
}
