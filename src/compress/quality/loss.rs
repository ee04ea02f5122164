//! The feature loss.

use tch::{Kind, Tensor};

use crate::compress::CompressError;
use crate::compress::samples::Samples;
use crate::compress::student::Student;
use crate::compress::student::forward::{Answers, Forward};
use crate::network::Network;

/// Mean squared error of the features, averaged over the taps.
pub fn feature_loss(student: &[Tensor], teacher: &[Tensor]) -> Result<Tensor, CompressError> {
    let losses = student.iter().zip(teacher).map(|(s, t)| s.f_mse_loss(t, tch::Reduction::Mean));
    let losses = losses.collect::<Result<Vec<_>, _>>()?;
    Ok(Tensor::f_stack(&losses, 0)?.f_mean(Kind::Float)?)
}

/// The feature loss of a student in evaluation mode on each of these samples, relative to the teacher's outputs for the same;
/// there may be outputs for more. Their mean is the feature loss on all of them.
pub fn evaluate(
    network: &Network,
    student: &Student,
    teacher: &Answers,
    samples: &Samples,
    indices: &[i64],
) -> Result<Vec<f64>, CompressError> {
    let answers = Forward::features(network, student)?.all(&student.params, samples, indices)?;
    let mut losses = vec![0.0; indices.len()];
    for (student, teacher) in answers.features.iter().zip(&teacher.features) {
        let difference = student.f_sub(&teacher.f_narrow(0, 0, indices.len() as i64)?)?;
        let of_images = difference.f_square()?.f_flatten(1, -1)?.f_mean_dim([1].as_slice(), false, Kind::Double)?;
        let taps = answers.features.len() as f64;
        let of_images = Vec::<f64>::try_from(&of_images)?;
        losses.iter_mut().zip(of_images).for_each(|(sum, loss)| *sum += loss / taps);
    }
    finite(mean(&losses))?;
    Ok(losses)
}

/// The mean of some values.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The loss, or an error if it is not finite.
pub fn finite(loss: f64) -> Result<f64, CompressError> {
    if loss.is_finite() { Ok(loss) } else { Err(CompressError::LossNotFinite) }
}
