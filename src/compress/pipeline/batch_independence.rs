//! Whether images can be computed in batches at all.

use crate::compress::CompressError;
use crate::compress::quality::difference::relative_difference;
use crate::compress::samples::Samples;
use crate::compress::student::Student;
use crate::compress::student::forward::Forward;
use crate::exec::BatchNorm;
use crate::network::{Network, NetworkError};

/// Relative to the answers' scale; the order of sums may depend on the batch.
const ALIKE: f64 = 1e-3;

/// Refuses a network whose answers for an image depend on which others stand in its batch, as where something is normalised or
/// summed over the batch: exported for one image that does no harm, and no two images may be fitted on together.
pub(super) fn check(network: &Network, teacher: &Student, samples: &Samples) -> Result<(), CompressError> {
    let images: Vec<i64> = samples.fit.iter().chain(&samples.held_out).copied().take(2).collect();
    let forward = Forward::answers(network, teacher)?;
    let run =
        |images: &[i64]| tch::no_grad(|| forward.run(&teacher.params, &samples.select(images)?, BatchNorm::Running));
    let together = run(&images)?;
    for (row, image) in (0..).zip(&images) {
        for (all, alone) in together.iter().zip(run(&[*image])?) {
            let difference = relative_difference(&alone, &all.f_narrow(0, row, 1)?)?;
            if difference > ALIKE {
                return Err(NetworkError::ModelInterface(
                    "the network's output for an image depends on the other images of its batch: a node normalises or sums \
                     over the first dimension, N; export the network so that each image is computed independently"
                        .into(),
                ).into());
            }
        }
    }
    Ok(())
}
