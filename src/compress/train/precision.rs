//! What training computes in. Processors with instructions for bfloat16 take half the time in it: 8 bits of exponent as in
//! f32, 8 bits of precision. Weights stay f32, and so does whatever is measured.

use tch::Tensor;

use super::pair::Pair;
use crate::compress::CompressError;
use crate::compress::error::taken;
use crate::compress::quality::loss::feature_loss;
use crate::compress::setting::Setting;
use crate::compress::student::fused::Fused;
use crate::compress::student::{Student, weights};
use crate::exec::{Device, memory};
use crate::spec::config::Precision;

/// Largest mean squared difference of a teacher's features in bfloat16 from those in f32, as a share of the loss that is to
/// be recovered from.
const TOLERANCE: f64 = 0.02;

/// Images that a precision is tried on.
const TRIED_ON: usize = 8;

/// What training computes in: what is wished for or else what the device is fast in, unless the networks do not work in it.
/// The student is the teacher ahead of the node at `first`, and has this feature loss.
pub fn settle(
    wish: Option<Precision>,
    setting: &Setting,
    student: &Student,
    first: usize,
    loss: f64,
) -> Result<Precision, CompressError> {
    let narrow = wish.map_or_else(|| fast(setting.device), |wish| wish == Precision::Bfloat16);
    let works = narrow && works(setting, student, first, TOLERANCE * loss)?;
    Ok(if works { Precision::Bfloat16 } else { Precision::Float32 })
}

/// Whether the device multiplies bfloat16 faster than f32.
fn fast(device: Device) -> bool {
    match device {
        #[cfg(target_arch = "x86_64")]
        Device::Cpu => std::arch::is_x86_feature_detected!("avx512bf16"),
        // An H100 multiplies bfloat16 ten times as fast, but on steps of few views what it waits for is the host, which has more to
        // launch in bfloat16: steps take as long or longer (docs/performance.md).
        _ => false,
    }
}

/// Whether both networks run in bfloat16, forward and backward, and the teacher's features are within `allowed` of what they
/// are in f32 (mean squared difference).
fn works(setting: &Setting, student: &Student, first: usize, allowed: f64) -> Result<bool, CompressError> {
    let images = &setting.samples.fit[..setting.samples.fit.len().min(memory::part_of(TRIED_ON))];
    let images = setting.samples.select(images)?;
    let mut student = student.copy()?;
    let names = weights::weights_from(&student.graph, &student.taps, first);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let moving = student.params.trainable(&names)?;
    let mut fused = Fused::new(&student, first)?;
    let student = fused.with(&student.params)?;
    let pair = |precision| Pair::plan(setting, student, first, &[], precision);
    let exact = pair(Precision::Float32)?.features(&images)?;
    let narrow = pair(Precision::Bfloat16)?;
    // An operator that torch does not have in bfloat16, or a constant that stays f32, is no error: it is the answer.
    let Some(rounded) = taken(narrow.features(&images))? else { return Ok(false) };
    let Some(loss) = taken(narrow.loss(&student.params, &images, 0.0))? else { return Ok(false) };
    let gradients = Tensor::f_run_backward(&[loss], &moving, false, false).map_err(CompressError::from);
    if taken(gradients)?.is_none() {
        return Ok(false);
    }
    Ok(feature_loss(&rounded, &exact)?.f_double_value(&[])? <= allowed)
}
