//! Whether a device computes: a small convolution, forward and backward, whose result is known.

use tch::{Kind, Tensor};

use super::device::Device;
use super::error::ExecError;
use super::torch_message::torch_message;

/// Images, channels in, channels out, and sides of the images and of the kernel.
const SIZES: [usize; 5] = [2, 3, 4, 9, 3];

/// How far a result may be from the known one, relative to the largest. All numbers are small integers, which every format of a
/// device's units holds exactly; this is for an order of summation that rounds.
const ALLOWED: f64 = 1e-3;

/// Opens the device and computes on it.
///
/// # Errors
/// [`ExecError::Device`] with the cause and the fix if it does not open, fails, or computes something else.
pub fn prove(device: Device) -> Result<(), ExecError> {
    let opened = device.open()?;
    let unusable = |detail: String| ExecError::Device { device, detail };
    let computed = compute(opened).map_err(|error| {
        unusable(format!("a small convolution failed on it: {}; {}", torch_message(&error), fix(device)))
    })?;
    let (images, kernel) =
        (numbers(7, SIZES[0] * SIZES[1] * SIZES[3] * SIZES[3]), numbers(5, SIZES[2] * SIZES[1] * SIZES[4] * SIZES[4]));
    for (what, got, expected) in [
        ("a convolution", &computed.0, known_forward(&images, &kernel)),
        ("a convolution's gradient", &computed.1, known_backward(&images, &kernel)),
    ] {
        let scale = expected.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
        let far = got.iter().zip(&expected).any(|(got, expected)| {
            let off = (got - expected).abs();
            off.is_nan() || off > ALLOWED * scale
        });
        if far || got.len() != expected.len() {
            return Err(unusable(format!("it computes {what} incorrectly; {}", fix(device))));
        }
    }
    Ok(())
}

fn fix(device: Device) -> &'static str {
    match device {
        Device::Cpu => "reinstall libtorch with scripts/setup, and check the host's memory",
        Device::Cuda(_) => "check the GPU with `nvidia-smi`, and whether another process fills its memory",
    }
}

/// Small whole numbers around 0 that repeat after `period`.
fn numbers(period: usize, count: usize) -> Vec<f64> {
    (0..count).map(|at| (at % period) as f64 - (period / 2) as f64).collect()
}

/// The features, and the kernel's gradient of half their sum of squares.
fn compute(device: tch::Device) -> Result<(Vec<f64>, Vec<f64>), tch::TchError> {
    let [images, inputs, outputs, side, width] = SIZES.map(|size| size as i64);
    let tensor = |period, shape: &[i64]| -> Result<Tensor, tch::TchError> {
        let count = shape.iter().product::<i64>() as usize;
        Tensor::f_from_slice(&numbers(period, count))?.f_view(shape)?.f_to_kind(Kind::Float)?.f_to_device(device)
    };
    let x = tensor(7, &[images, inputs, side, side])?;
    let kernel = tensor(5, &[outputs, inputs, width, width])?.f_set_requires_grad(true)?;
    let y = x.f_conv2d(&kernel, None::<&Tensor>, [1, 1], [0, 0], [1, 1], 1)?;
    (y.f_square()?.f_sum(Kind::Float)? * 0.5).f_backward()?;
    Ok((values(&y.f_detach()?)?, values(&kernel.f_grad()?)?))
}

fn values(tensor: &Tensor) -> Result<Vec<f64>, tch::TchError> {
    Vec::try_from(tensor.f_to_device(tch::Device::Cpu)?.f_to_kind(Kind::Double)?.f_flatten(0, -1)?)
}

/// Calls `each` with the places in images, kernel and features of every product that a convolution sums up.
fn products(mut each: impl FnMut(usize, usize, usize)) {
    let [images, inputs, outputs, side, width] = SIZES;
    let out = side - width + 1;
    for (n, o, i) in (0..images).flat_map(|n| (0..outputs).flat_map(move |o| (0..inputs).map(move |i| (n, o, i)))) {
        for (y, x) in (0..out).flat_map(|y| (0..out).map(move |x| (y, x))) {
            for (ky, kx) in (0..width).flat_map(|ky| (0..width).map(move |kx| (ky, kx))) {
                let image = ((n * inputs + i) * side + y + ky) * side + x + kx;
                let kernel = ((o * inputs + i) * width + ky) * width + kx;
                each(image, kernel, ((n * outputs + o) * out + y) * out + x);
            }
        }
    }
}

fn known_forward(images: &[f64], kernel: &[f64]) -> Vec<f64> {
    let [count, _, outputs, side, width] = SIZES;
    let mut features = vec![0.0; count * outputs * (side - width + 1).pow(2)];
    products(|image, weight, feature| features[feature] += images[image] * kernel[weight]);
    features
}

fn known_backward(images: &[f64], kernel: &[f64]) -> Vec<f64> {
    let features = known_forward(images, kernel);
    let mut gradient = vec![0.0; kernel.len()];
    products(|image, weight, feature| gradient[weight] += images[image] * features[feature]);
    gradient
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_computes_what_is_known() {
        prove(Device::Cpu).expect("a processor that computes");
        let expected = known_forward(&numbers(7, 2 * 3 * 81), &numbers(5, 4 * 3 * 9));
        assert!(expected.iter().any(|value| value.abs() > 1.0), "something to compare with: {expected:?}");
    }

    #[test]
    fn a_gpu_that_is_not_there_says_what_to_do() {
        if crate::exec::cuda::installed() {
            return;
        }
        let error = prove(Device::Cuda(0)).expect_err("no CUDA here").to_string();
        assert!(error.contains("cuda:0 cannot be used") && error.contains("scripts/setup"), "{error}");
    }
}
