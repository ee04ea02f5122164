//! Which nodes are the identity on each element, or times a power of two, by their constants (ONNX operators, all opsets).

use super::range::{self, uniform};
use super::{Proofs, Walk};
use crate::graph::dim::Dim;
use crate::graph::model::Attribute;
use crate::graph::model::Node;
use crate::graph::tensor::{DataType, TensorData};
use crate::graph::value::numbers::Numbers;

/// A statistic that a file holds to 7 digits cannot be the identity more exactly.
const ROUNDING: f64 = 1e-6;

/// The input whose elements this node hands on in their places, times what; `None` if that is not proven.
pub(super) fn element_by_element(walk: &Walk, node: &Node, output: &str) -> Option<(usize, f64)> {
    let proofs = walk.proofs;
    let kept = |input: usize| node.input(input).is_some_and(|name| proofs.same_shape(name, output));
    if node.output() != output {
        return None;
    }
    let found = match node.op.as_str() {
        "Mul" | "Div" | "Add" | "Sub" | "Sum" | "Max" | "Min" | "Mean" | "Pow" | "Where" => operands(proofs, node),
        _ => one_input(walk, node),
    };
    found.filter(|(input, _)| kept(*input))
}

/// Nodes that compute from the first input alone, and constants.
fn one_input(walk: &Walk, node: &Node) -> Option<(usize, f64)> {
    let proofs = walk.proofs;
    let same = match node.op.as_str() {
        "Identity" | "Dropout" => true,
        // Of the same shape they repeat, cut off and pad nothing.
        "Expand" | "Tile" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => true,
        "Slice" => steps_forward(proofs, node),
        "Cast" | "CastLike" => holds(proofs.dtype(node.output())?, proofs.dtype(walk.from)?),
        "MaxPool" | "AveragePool" => is_one_by_one(node),
        "Neg" => return Some((0, -1.0)),
        "Pad" => pads_nothing(proofs, node),
        "Concat" => return joins_one(proofs, node),
        "Clip" | "Relu" | "LeakyRelu" | "PRelu" | "Elu" | "Celu" | "Abs" | "ThresholdedRelu" => {
            range::bends_nothing(proofs, node)
        }
        "Shrink" => node.attrs.float("lambd", 0.5) == 0.0 && node.attrs.float("bias", 0.0) == 0.0,
        "Resize" | "Upsample" => resizes_to_itself(proofs, node),
        "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceProd" => reduces_only_ones(proofs, node),
        "Einsum" => is_plain_einsum(node),
        "BatchNormalization" => normalises_nothing(proofs, node),
        "Conv" => convolves_with_one(proofs, node),
        "MatMul" => proofs.graph.initializers.get(node.input(1)?).is_some_and(|matrix| is_identity_matrix(matrix)),
        "Gemm" => is_plain_gemm(proofs, node),
        _ => false,
    };
    same.then_some((0, 1.0))
}

/// Arithmetic of one value with constants that leave it as it is.
fn operands(proofs: &Proofs, node: &Node) -> Option<(usize, f64)> {
    let number = |input: usize| node.input(input).and_then(|name| uniform(proofs, name));
    let rest = |input: usize| (0..node.inputs.len()).filter(move |other| *other != input);
    let all = |input: usize, holds: &dyn Fn(f64) -> bool| rest(input).all(|other| number(other).is_some_and(holds));
    let varying = || (0..node.inputs.len()).find(|input| number(*input).is_none());
    let range = |input: usize| range::of(proofs, &node.inputs[input]);
    match node.op.as_str() {
        "Add" | "Sum" => varying().filter(|input| all(*input, &|n| n == 0.0)).map(|input| (input, 1.0)),
        "Sub" => (number(1)? == 0.0).then_some((0, 1.0)),
        "Mul" => {
            let input = varying()?;
            let factor = rest(input).map(number).product::<Option<f64>>()?;
            is_exact(factor).then_some((input, factor))
        }
        "Div" => Some(number(1)?.recip()).filter(|factor| is_exact(*factor)).map(|factor| (0, factor)),
        "Pow" => (number(1)? == 1.0).then_some((0, 1.0)),
        "Max" => {
            varying().filter(|input| all(*input, &|n| range::open(n) <= range(*input).0)).map(|input| (input, 1.0))
        }
        "Min" => {
            varying().filter(|input| all(*input, &|n| range::open(n) >= range(*input).1)).map(|input| (input, 1.0))
        }
        "Mean" => (node.inputs.len() == 1).then_some((0, 1.0)),
        "Where" => Some((if number(0)? != 0.0 { 1 } else { 2 }, 1.0)),
        _ => None,
    }
}

/// A product with this loses no digit: powers of two and their negatives.
fn is_exact(factor: f64) -> bool {
    factor.is_normal() && factor.to_bits() & ((1 << 52) - 1) == 0
}

/// True if every number of one floating-point type is one of the other.
fn holds(wide: DataType, narrow: DataType) -> bool {
    use DataType::{BFloat16, Float16, Float32, Float64};
    wide == narrow
        || match wide {
            Float64 => narrow.is_float(),
            Float32 => matches!(narrow, Float16 | BFloat16),
            _ => false,
        }
}

/// Other shapes of the same elements in the same order.
pub(super) fn keeps_order(proofs: &Proofs, node: &Node) -> bool {
    match node.op.as_str() {
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => true,
        "Transpose" => moves_only_ones(proofs, node),
        "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceProd" => reduces_only_ones(proofs, node),
        _ => false,
    }
}

/// A Transpose under which the axes of more than one element keep their order.
fn moves_only_ones(proofs: &Proofs, node: &Node) -> bool {
    let Some(shape) = node.input(0).and_then(|name| proofs.sized(name)) else { return false };
    let reversed = || (0..shape.len() as i64).rev().collect();
    let order: Vec<i64> = node.attrs.ints("perm").map_or_else(reversed, <[i64]>::to_vec);
    let size = |axis: &i64| usize::try_from(*axis).ok().and_then(|axis| shape.get(axis));
    let long: Vec<i64> = order.into_iter().filter(|axis| size(axis) != Some(&Dim::Known(1))).collect();
    long.is_sorted()
}

/// A reduction over axes of one element.
fn reduces_only_ones(proofs: &Proofs, node: &Node) -> bool {
    let long = |name: &str| {
        proofs.sized(name).map(|shape| shape.into_iter().filter(|size| *size != Dim::Known(1)).collect::<Vec<Dim>>())
    };
    let before = node.input(0).and_then(long);
    before.is_some() && before == long(node.output())
}

/// A Slice whose steps are all 1: of the same shape, it takes everything in order.
fn steps_forward(proofs: &Proofs, node: &Node) -> bool {
    let Some(steps) = node.input(4) else { return true };
    let steps = proofs.graph.initializers.get(steps).and_then(|steps| steps.to_i64());
    steps.is_some_and(|steps| steps.iter().all(|step| *step == 1))
}

/// A pool over windows of one element.
fn is_one_by_one(node: &Node) -> bool {
    let all = |name: &str, value: i64| node.attrs.ints(name).is_none_or(|given| given.iter().all(|n| *n == value));
    node.attrs.ints("kernel_shape").is_some() && all("kernel_shape", 1) && all("strides", 1) && all("pads", 0)
}

fn pads_nothing(proofs: &Proofs, node: &Node) -> bool {
    let from_input = || proofs.graph.initializers.get(node.input(1)?)?.to_i64();
    let attribute = node.attrs.ints("pads").or_else(|| node.attrs.ints("paddings")).map(<[i64]>::to_vec);
    attribute.or_else(from_input).is_some_and(|pads| pads.iter().all(|pad| *pad == 0))
}

/// A Concat in which all but one have no element.
fn joins_one(proofs: &Proofs, node: &Node) -> Option<(usize, f64)> {
    let empty =
        |name: &String| name.is_empty() || proofs.sized(name).is_some_and(|shape| shape.contains(&Dim::Known(0)));
    let mut full = (0..node.inputs.len()).filter(|input| !empty(&node.inputs[*input]));
    let only = full.next()?;
    full.next().is_none().then_some((only, 1.0))
}

/// Scaled by exactly 1: each place of the output lies on one of the input, whatever is done between places.
fn resizes_to_itself(proofs: &Proofs, node: &Node) -> bool {
    let mode = node.attrs.string("coordinate_transformation_mode", "half_pixel");
    if ["tf_crop_and_resize", "tf_half_pixel_for_nn"].contains(&mode) {
        return false;
    }
    if let Some(scales) = node.attrs.get("scales") {
        return matches!(scales, Attribute::Floats(scales) if scales.iter().all(|scale| *scale == 1.0));
    }
    let scales_at = if node.is("Upsample") || node.inputs.len() == 2 { 1 } else { 2 };
    let scales = node.input(scales_at).and_then(|name| proofs.graph.initializers.get(name));
    match scales.and_then(|scales| scales.to_f32()).filter(|scales| !scales.is_empty()) {
        Some(scales) => scales.iter().all(|scale| *scale == 1.0),
        // By its sizes, which are the input's.
        None => node.input(3).is_some() && scales.is_none_or(|scales| scales.is_empty()),
    }
}

/// One operand whose axes stay: `abcd->abcd`, or without the arrow in alphabetical order.
fn is_plain_einsum(node: &Node) -> bool {
    let equation: String = node.attrs.string("equation", "").split_whitespace().collect();
    let distinct = |axes: &str| axes.chars().all(|axis| axes.matches(axis).count() == 1 && axis.is_alphabetic());
    match equation.split_once("->") {
        Some((from, to)) => from == to && distinct(from),
        None => false,
    }
}

fn floats(proofs: &Proofs, node: &Node, input: usize) -> Option<Vec<f64>> {
    Numbers::of(proofs.graph.initializers.get(node.input(input)?)?).map(Numbers::floats)
}

/// A BatchNormalization by statistics that it keeps, whose gain is 1 and whose shift is 0 as exactly as numbers are held.
fn normalises_nothing(proofs: &Proofs, node: &Node) -> bool {
    let given: Option<Vec<Vec<f64>>> = (1..5).map(|input| floats(proofs, node, input)).collect();
    let Some([scale, bias, mean, variance]) = given.and_then(|given| <[_; 4]>::try_from(given).ok()) else {
        return false;
    };
    let epsilon = f64::from(node.attrs.float("epsilon", 1e-5));
    let mut channels = scale.iter().zip(&bias).zip(mean.iter().zip(&variance));
    node.attrs.int("training_mode", 0) == 0
        && channels.all(|((scale, bias), (mean, variance))| {
            let gain = scale / (variance + epsilon).sqrt();
            (gain - 1.0).abs() <= ROUNDING && (bias - mean * gain).abs() <= ROUNDING
        })
}

/// A convolution that takes each channel from itself: its kernel is 1 at one place, which its padding puts over the output's.
fn convolves_with_one(proofs: &Proofs, node: &Node) -> bool {
    let Some(kernel) = node.input(1).and_then(|name| proofs.graph.initializers.get(name)) else { return false };
    let bias_is_zero = node.input(2).is_none_or(|name| uniform(proofs, name) == Some(0.0));
    let strides_are_one = node.attrs.ints("strides").is_none_or(|strides| strides.iter().all(|stride| *stride == 1));
    let Some(place) = centre(node, kernel).filter(|_| bias_is_zero && strides_are_one) else { return false };
    let (out, per_group) = (kernel.dims[0], kernel.dims[1]);
    let groups = usize::try_from(node.attrs.int("group", 1)).unwrap_or(0);
    let window: usize = kernel.dims[2..].iter().product();
    let wanted = |at: usize| {
        let (channel, from, inside) = (at / (per_group * window), at / window % per_group, at % window);
        from == channel % per_group && inside == place
    };
    groups > 0 && out == groups * per_group && is_one_where(kernel, wanted)
}

/// The place of a window, counted through it, that lies over the output's own.
fn centre(node: &Node, kernel: &TensorData) -> Option<usize> {
    let sizes = kernel.dims.get(2..)?;
    let one = |name: &str, axis: usize, default: i64| match node.attrs.ints(name) {
        Some(given) => given.get(axis).copied(),
        None => Some(default),
    };
    sizes.iter().enumerate().try_fold(0, |place, (axis, size)| {
        let dilation = usize::try_from(one("dilations", axis, 1)?).ok().filter(|dilation| *dilation > 0)?;
        let ahead = match node.attrs.string("auto_pad", "NOTSET") {
            "NOTSET" => usize::try_from(one("pads", axis, 0)?).ok()?,
            "VALID" => 0,
            _ if size % 2 == 1 => size / 2 * dilation,
            _ => return None,
        };
        let at = (ahead % dilation == 0).then_some(ahead / dilation).filter(|at| at < size)?;
        Some(place * size + at)
    })
}

fn is_identity_matrix(matrix: &TensorData) -> bool {
    let [rows, columns] = matrix.dims[..] else { return false };
    rows == columns && is_one_where(matrix, |at| at / columns == at % columns)
}

/// True of a float32 tensor that is 1 at these places, counted through it, and 0 at all others. Most are seen not to be at once.
fn is_one_where(tensor: &TensorData, one: impl Fn(usize) -> bool) -> bool {
    let (elements, _) = tensor.bytes.as_chunks::<4>();
    let holds = |(at, bytes): (usize, &[u8; 4])| f32::from_le_bytes(*bytes) == f32::from(u8::from(one(at)));
    tensor.dtype == DataType::Float32 && elements.iter().enumerate().all(holds)
}

fn is_plain_gemm(proofs: &Proofs, node: &Node) -> bool {
    let matrix = node.input(1).and_then(|name| proofs.graph.initializers.get(name));
    let nothing_added = node.input(2).is_none_or(|name| uniform(proofs, name) == Some(0.0));
    let plain = node.attrs.float("alpha", 1.0) == 1.0 && node.attrs.int("transA", 0) == 0;
    plain && nothing_added && matrix.is_some_and(|matrix| is_identity_matrix(matrix))
}
