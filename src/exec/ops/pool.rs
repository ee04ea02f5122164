//! Pools over one to three spatial axes: `(N, C, [D, [H,]] W)`.

use tch::Tensor;

use super::super::kernel::{Built, Call, Cause, Refusal, Spec, axis, fail, one, refuse};
use super::window::{Window, pad, spatial, symmetric};

pub(super) fn global_average(_: &Spec) -> Built {
    one(|call| {
        let x = call.tensor(0)?;
        Ok(x.f_mean_dim(spatial_axes(x)?, true, None)?)
    })
}

pub(super) fn global_max(_: &Spec) -> Built {
    one(|call| {
        let x = call.tensor(0)?;
        Ok(x.f_amax(spatial_axes(x)?, true)?)
    })
}

fn spatial_axes(x: &Tensor) -> Result<Vec<i64>, Cause> {
    axis(2, x.dim())?;
    Ok((2..x.dim() as i64).collect())
}

pub(super) fn max(spec: &Spec) -> Built {
    spec.only_outputs(1)?;
    let pool = Pool::of(spec)?;
    one(move |call| pool.max(call))
}

pub(super) fn average(spec: &Spec) -> Built {
    let pool = Pool::of(spec)?;
    let count_padding = spec.node.attrs.int("count_include_pad", 0) != 0;
    one(move |call| pool.average(call, count_padding))
}

struct Pool {
    window: Window,
    round_up: bool,
}

/// What a pool does along one axis of an input.
struct Along {
    size: i64,
    /// Padding before, and the declared padding behind.
    pads: (i64, i64),
    outputs: i64,
    /// Padding behind that the windows reach, which is less where they end early and more where the size is rounded up.
    reach: i64,
}

impl Pool {
    fn of(spec: &Spec) -> Result<Self, Refusal> {
        if spec.node.attrs.ints("kernel_shape").is_none() {
            return refuse("kernel_shape is missing");
        }
        let window = Window::of(spec, None)?;
        if window.is_same() && window.is_dilated() {
            return refuse("auto_pad \"SAME_…\" with dilations is not supported (ONNX and ONNX Runtime differ)")
                .map_err(|refusal| refusal.hint("export with pads"));
        }
        Ok(Self { window, round_up: spec.node.attrs.int("ceil_mode", 0) != 0 })
    }

    fn max(&self, call: &Call) -> Result<Tensor, Cause> {
        let x = call.tensor(0)?;
        let along = self.along(x)?;
        let w = &self.window;
        if let Some(padding) = self.direct(&along) {
            return pool_max(x, w, &padding, self.round_up);
        }
        let pads: Vec<(i64, i64)> = along.iter().map(|a| (a.pads.0, a.reach)).collect();
        pool_max(&pad(x, &pads, f64::NEG_INFINITY)?, w, &vec![0; along.len()], false)
    }

    fn average(&self, call: &Call, count_padding: bool) -> Result<Tensor, Cause> {
        let x = call.tensor(0)?;
        let along = self.along(x)?;
        let w = &self.window;
        match self.direct(&along).filter(|_| w.dilations.iter().all(|dilation| *dilation == 1)) {
            Some(padding) => pool_average(x, w, &padding, self.round_up, count_padding),
            None => self.average_by_counting(x, &along, count_padding),
        }
    }

    /// The padding to give torch, where torch's own rules come to the same result.
    fn direct(&self, along: &[Along]) -> Option<Vec<i64>> {
        let pads: Vec<(i64, i64)> = along.iter().map(|a| a.pads).collect();
        symmetric(&pads).filter(|pads| pads.iter().zip(&self.window.kernel).all(|(pad, kernel)| pad * 2 <= *kernel))
    }

    fn along(&self, x: &Tensor) -> Result<Vec<Along>, Cause> {
        let w = &self.window;
        let sizes = spatial(x, w.kernel.len())?;
        let pads = w.pads(&sizes);
        sizes.iter().zip(pads).enumerate().map(|(i, (size, pads))| self.along_axis(i, *size, pads)).collect()
    }

    fn along_axis(&self, index: usize, size: i64, pads: (i64, i64)) -> Result<Along, Cause> {
        let (stride, extent) = (self.window.strides[index], self.window.extent(index));
        let room = size + pads.0 + pads.1 - extent;
        if room < 0 {
            return fail(format!("a window of {extent} is larger than the padded input of {}", room + extent));
        }
        let mut outputs = room / stride + 1;
        // A window that is rounded up must still start on the input or the padding before it.
        if self.round_up && room % stride != 0 && outputs * stride < size + pads.0 {
            outputs += 1;
        }
        Ok(Along { size, pads, outputs, reach: (outputs - 1) * stride + extent - size - pads.0 })
    }

    /// Sums by a depthwise convolution with ones, then divides by how many elements each window covers.
    fn average_by_counting(&self, x: &Tensor, along: &[Along], count_padding: bool) -> Result<Tensor, Cause> {
        let w = &self.window;
        let options = (x.f_kind()?, x.device());
        let pads: Vec<(i64, i64)> = along.iter().map(|a| (a.pads.0, a.reach)).collect();
        let padded = pad(x, &pads, 0.0)?;
        let (batch, channels) = (x.size()[0], x.size()[1]);
        let planes = [vec![batch * channels, 1], padded.size()[2..].to_vec()].concat();
        let ones = Tensor::f_ones([vec![1, 1], w.kernel.clone()].concat(), options)?;
        let zeros = vec![0; along.len()];
        let none = None::<&Tensor>;
        let sums =
            padded.f_reshape(planes)?.f_convolution(&ones, none, &w.strides, &zeros, &w.dilations, false, &zeros, 1)?;
        let shape = [vec![batch, channels], along.iter().map(|a| a.outputs).collect()].concat();
        let mut result = sums.f_reshape(shape)?;
        for (index, a) in along.iter().enumerate() {
            let mut shape = vec![1; along.len() + 2];
            shape[index + 2] = a.outputs;
            let counts = Tensor::f_from_slice(&self.counts(index, a, count_padding))?;
            result = result.f_div(&counts.f_reshape(shape)?.f_to_kind(options.0)?.f_to_device(options.1)?)?;
        }
        Ok(result)
    }

    /// How many elements each window along an axis is divided by.
    fn counts(&self, index: usize, along: &Along, count_padding: bool) -> Vec<f64> {
        let (before, after) = if count_padding { along.pads } else { (0, 0) };
        let counted = -before..along.size + after;
        let w = &self.window;
        let start = |output: i64| output * w.strides[index] - along.pads.0;
        let taps = |output: i64| (0..w.kernel[index]).map(move |tap| start(output) + tap * w.dilations[index]);
        (0..along.outputs).map(|output| taps(output).filter(|at| counted.contains(at)).count().max(1) as f64).collect()
    }
}

fn pool_max(x: &Tensor, w: &Window, padding: &[i64], round_up: bool) -> Result<Tensor, Cause> {
    let (kernel, strides, dilations) = (&w.kernel, &w.strides, &w.dilations);
    Ok(match kernel.len() {
        1 => x.f_max_pool1d(kernel, strides, padding, dilations, round_up)?,
        2 => x.f_max_pool2d(kernel, strides, padding, dilations, round_up)?,
        _ => x.f_max_pool3d(kernel, strides, padding, dilations, round_up)?,
    })
}

fn pool_average(x: &Tensor, w: &Window, padding: &[i64], round_up: bool, count: bool) -> Result<Tensor, Cause> {
    let (kernel, strides) = (&w.kernel, &w.strides);
    Ok(match kernel.len() {
        1 => x.f_avg_pool1d(kernel, strides, padding, round_up, count)?,
        2 => x.f_avg_pool2d(kernel, strides, padding, round_up, count, None)?,
        _ => x.f_avg_pool3d(kernel, strides, padding, round_up, count, None)?,
    })
}
