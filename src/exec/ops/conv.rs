//! Conv and ConvTranspose over one to three spatial axes: `(N, C, [D, [H,]] W)`.

use tch::Tensor;

use super::super::kernel::{Built, Call, Cause, Spec, one, refuse};
use super::window::{Window, pad, spatial, symmetric, within_reach};

pub(super) fn conv(spec: &Spec) -> Built {
    let window = Window::of(spec, kernel_of_weight(spec))?;
    let groups = spec.node.attrs.int("group", 1);
    let (no_padding, unit_strides) = (vec![0; window.kernel.len()], vec![1; window.kernel.len()]);
    let pointwise = window.kernel.iter().all(|side| *side == 1) && window.strides.iter().any(|stride| *stride > 1);
    one(move |call| {
        let (x, weight, bias) = (call.tensor(0)?, call.tensor(1)?, call.optional(2));
        let pads = window.pads(&spatial(x, window.kernel.len())?);
        let run = |x: &Tensor, strides: &[i64], padding: &[i64]| {
            let x = channels_last(x)?;
            x.f_convolution(weight, bias, strides, padding, &window.dilations, false, &no_padding, groups)
        };
        match symmetric(&pads) {
            _ if pointwise => Ok(run(&picked(&pad(x, &pads, 0.0)?, &window.strides)?, &unit_strides, &no_padding)?),
            Some(padding) => Ok(run(x, &window.strides, &padding)?),
            None => Ok(run(&pad(x, &pads, 0.0)?, &window.strides, &no_padding)?),
        }
    })
}

/// What a kernel of one element sees at these strides: every so-manieth element along each spatial axis.
///
/// Picked ahead of the convolution, because oneDNN's gradients of such a kernel in bfloat16 write beyond their memory where
/// fewer than 16 channels come in (libtorch 2.11.0, 8 channels at 104 × 104 pixels and a stride of 2: the process dies).
fn picked(x: &Tensor, strides: &[i64]) -> Result<Tensor, tch::TchError> {
    let mut axes = strides.iter().zip(2..);
    axes.try_fold(x.shallow_clone(), |x, (stride, axis)| x.f_slice(axis, None, None, *stride))
}

/// The same tensor with the channels of a pixel side by side in memory, if convolutions are faster so: on the CPU, forward and
/// backward (docs/performance.md), and in bfloat16 on a GPU, whose tensor cores take no other layout. What a convolution puts out
/// is laid out as its input, so only the first one copies.
fn channels_last(x: &Tensor) -> Result<Tensor, tch::TchError> {
    let faster = x.device() == tch::Device::Cpu || x.kind() == tch::Kind::BFloat16;
    match x.dim() {
        4 if faster => x.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2]),
        _ => Ok(x.shallow_clone()),
    }
}

/// The spatial sizes of the weight (M, C/group, kH, kW).
fn kernel_of_weight(spec: &Spec) -> Option<Vec<i64>> {
    spec.sizes(1).and_then(|sizes| sizes.get(2..).map(<[i64]>::to_vec))
}

pub(super) fn conv_transpose(spec: &Spec) -> Built {
    let window = Window::of(spec, kernel_of_weight(spec))?;
    let attrs = &spec.node.attrs;
    let axes = window.kernel.len();
    let groups = attrs.int("group", 1);
    let output_padding = attrs.ints("output_padding").map_or_else(|| vec![0; axes], <[i64]>::to_vec);
    let output_shape = attrs.ints("output_shape").map(|sizes| sizes[sizes.len().saturating_sub(axes)..].to_vec());
    if output_padding.len() != axes || output_shape.as_ref().is_some_and(|sizes| sizes.len() != axes) {
        return refuse("output_padding or output_shape does not fit the kernel's axes");
    }
    within_reach("output_padding", &output_padding)?;
    within_reach("output_shape", output_shape.as_deref().unwrap_or_default())?;
    // ONNX asks for as many elements as strides reach over, ONNX Runtime gives those that the kernel reaches.
    let reaches = (0..axes).all(|axis| window.extent(axis) >= window.strides[axis]);
    if window.is_same() && output_shape.is_none() && !reaches {
        return refuse(
            "auto_pad \"SAME_…\" with a kernel smaller than the stride is not supported (ONNX and ONNX Runtime differ)",
        )
        .map_err(|refusal| refusal.hint("export with pads"));
    }
    one(move |call| transposed(call, &window, groups, &output_padding, output_shape.as_deref()))
}

/// Torch pads both ends alike, so the whole result is computed and cropped where ONNX does not.
fn transposed(
    call: &Call,
    window: &Window,
    groups: i64,
    output_padding: &[i64],
    output_shape: Option<&[i64]>,
) -> Result<Tensor, Cause> {
    let (x, weight, bias) = (call.tensor(0)?, call.tensor(1)?, call.optional(2));
    let sizes = spatial(x, window.kernel.len())?;
    let crops = crops(window, &sizes, output_padding, output_shape);
    let run = |bias: Option<&Tensor>, padding: &[i64]| {
        x.f_convolution(weight, bias, &window.strides, padding, &window.dilations, true, output_padding, groups)
    };
    if let Some(padding) = symmetric(&crops) {
        return Ok(run(bias, &padding)?);
    }
    let negated: Vec<(i64, i64)> = crops.iter().map(|(before, after)| (-before, -after)).collect();
    let whole = |bias| run(bias, &vec![0; sizes.len()]);
    // Where an output shape is larger than what the kernel reaches, the bias is there too.
    match bias.filter(|_| negated.iter().any(|(before, behind)| *before > 0 || *behind > 0)) {
        Some(bias) => {
            let per_channel = [vec![-1], vec![1; sizes.len()]].concat();
            Ok(pad(&whole(None)?, &negated, 0.0)?.f_add(&bias.f_reshape(per_channel)?)?)
        }
        None => pad(&whole(bias)?, &negated, 0.0),
    }
}

/// What to cut off before and behind each axis.
fn crops(window: &Window, sizes: &[i64], output_padding: &[i64], output_shape: Option<&[i64]>) -> Vec<(i64, i64)> {
    let full = |axis: usize| (sizes[axis] - 1) * window.strides[axis] + window.extent(axis) + output_padding[axis];
    let crop = |axis: usize, target: i64| {
        let total = full(axis) - target;
        // What the kernel does not reach is behind, as ONNX Runtime has it.
        if total < 0 {
            return (0, total);
        }
        let (small, large) = (total.div_euclid(2), total - total.div_euclid(2));
        if window.is_same_upper() { (small, large) } else { (large, small) }
    };
    match output_shape {
        Some(targets) => (0..sizes.len()).map(|axis| crop(axis, targets[axis])).collect(),
        None if window.is_same() => {
            (0..sizes.len()).map(|axis| crop(axis, sizes[axis] * window.strides[axis])).collect()
        }
        None => window.pads(sizes),
    }
}
