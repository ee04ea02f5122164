//! The networks of one node that the executor is compared with ONNX Runtime on.

use practised::graph::{Attribute, DataType, TensorData};
use tch::Tensor;

use super::{Case, case};
use crate::support::noise;

fn image(seed: u64) -> Tensor {
    noise(&[2, 4, 7, 6], seed)
}

pub fn convolutions() -> Vec<Case> {
    let conv = || case("Conv", &[image(1)]);
    vec![
        conv().weight(&[5, 4, 3, 3], 2),
        conv().weight(&[5, 4, 3, 3], 2).weight(&[5], 3).ints("pads", &[1, 1, 1, 1]).ints("strides", &[2, 2]),
        conv().weight(&[5, 4, 3, 3], 2).ints("pads", &[0, 2, 1, 0]),
        conv().weight(&[5, 4, 3, 2], 2).ints("kernel_shape", &[3, 2]).text("auto_pad", "SAME_UPPER"),
        conv().weight(&[5, 4, 2, 3], 2).text("auto_pad", "SAME_LOWER").ints("strides", &[2, 3]),
        conv().weight(&[5, 4, 3, 3], 2).text("auto_pad", "SAME_UPPER").ints("strides", &[2, 2]).weight(&[5], 4),
        conv().weight(&[5, 4, 3, 3], 2).text("auto_pad", "VALID"),
        conv().weight(&[5, 4, 3, 3], 2).ints("dilations", &[2, 1]).ints("pads", &[2, 0, 2, 1]),
        conv().weight(&[4, 1, 3, 3], 2).int("group", 4).ints("pads", &[1, 1, 1, 1]),
        conv().weight(&[8, 2, 1, 1], 2).int("group", 2).opset(7),
        case("Conv", &[noise(&[2, 3, 9], 5)]).weight(&[4, 3, 3], 6).ints("pads", &[2, 1]),
        case("Conv", &[noise(&[1, 2, 5, 4, 6], 7)]).weight(&[3, 2, 2, 3, 2], 8).ints("strides", &[1, 2, 1]),
    ]
}

pub fn a_convolution_whose_weight_is_computed() -> Vec<Case> {
    vec![case("Conv", &[image(1), noise(&[5, 4, 3, 3], 2)]).ints("kernel_shape", &[3, 3])]
}

pub fn transposed_convolutions() -> Vec<Case> {
    let deconv = || case("ConvTranspose", &[image(11)]).weight(&[4, 3, 3, 3], 12);
    vec![
        deconv(),
        deconv().weight(&[3], 13).ints("strides", &[2, 2]).ints("pads", &[1, 1, 1, 1]),
        deconv().ints("strides", &[2, 2]).ints("output_padding", &[1, 1]).ints("pads", &[1, 1, 1, 1]),
        deconv().ints("strides", &[2, 3]).ints("pads", &[0, 1, 2, 0]),
        deconv().ints("strides", &[2, 2]).ints("output_shape", &[14, 12]),
        deconv().ints("strides", &[2, 2]).text("auto_pad", "SAME_UPPER"),
        deconv().ints("strides", &[2, 2]).text("auto_pad", "SAME_LOWER"),
        deconv().ints("dilations", &[2, 2]),
        deconv().weight(&[3], 13).ints("strides", &[4, 5]).ints("output_shape", &[29, 31]),
        deconv().ints("strides", &[4, 5]).ints("output_shape", &[29, 31]).text("auto_pad", "SAME_UPPER"),
        deconv().ints("strides", &[2, 2]).ints("output_shape", &[13, 11]).ints("output_padding", &[1, 0]),
        deconv().ints("strides", &[4, 4]).ints("output_shape", &[30, 26]).ints("output_padding", &[1, 1]),
        case("ConvTranspose", &[image(11)]).weight(&[4, 2, 2, 2], 12).int("group", 2).ints("strides", &[2, 2]),
        case("ConvTranspose", &[noise(&[1, 2, 5], 14)]).weight(&[2, 3, 4], 15).ints("strides", &[2]),
    ]
}

pub fn normalizations() -> Vec<Case> {
    let bn = |x: Tensor| case("BatchNormalization", &[x]).weight(&[4], 21).weight(&[4], 22).weight(&[4], 23);
    vec![
        bn(image(20)).positive(&[4], 24),
        bn(image(20)).positive(&[4], 24).float("epsilon", 1e-2).float("momentum", 0.5).opset(9),
        bn(noise(&[3, 4], 25)).positive(&[4], 24),
        bn(noise(&[3, 4, 5], 25)).positive(&[4], 24).opset(7),
        case("LayerNormalization", &[noise(&[2, 5, 8], 26)]).weight(&[8], 27).weight(&[8], 28),
        case("LayerNormalization", &[noise(&[2, 5, 8], 26)]).weight(&[5, 8], 27).int("axis", -2).float("epsilon", 1e-3),
        case("LayerNormalization", &[noise(&[2, 5, 8], 26)]).weight(&[5, 8], 27).weight(&[5, 8], 28).int("axis", 1),
        case("InstanceNormalization", &[image(29)]).weight(&[4], 30).weight(&[4], 31).float("epsilon", 1e-3),
        case("GroupNormalization", &[image(32)]).weight(&[2], 33).weight(&[2], 34).int("num_groups", 2).opset(18),
        case("GroupNormalization", &[image(32)]).weight(&[4], 33).weight(&[4], 34).int("num_groups", 2).opset(21),
        case("RMSNormalization", &[noise(&[2, 5, 8], 35)]).weight(&[8], 36).opset(23),
        case("RMSNormalization", &[noise(&[2, 5, 8], 35)])
            .weight(&[5, 8], 36)
            .int("axis", 1)
            .float("epsilon", 0.1)
            .opset(23),
        case("MeanVarianceNormalization", &[image(37)]),
        case("MeanVarianceNormalization", &[image(37)]).ints("axes", &[2, 3]),
        case("LpNormalization", &[image(38)]),
        case("LpNormalization", &[image(38)]).int("axis", 1).int("p", 1),
        case("LRN", &[noise(&[2, 7, 3, 4], 39)]).int("size", 3),
        case("LRN", &[noise(&[2, 7, 3, 4], 39)])
            .int("size", 5)
            .float("alpha", 0.5)
            .float("beta", 0.6)
            .float("bias", 1.5),
    ]
}

pub fn activations() -> Vec<Case> {
    let on = |op: &str| case(op, &[image(41) * 2]);
    vec![
        on("Relu"),
        on("Relu").opset(7),
        on("LeakyRelu"),
        on("LeakyRelu").float("alpha", 0.3),
        on("PRelu").weight(&[4, 1, 1], 42),
        on("PRelu").weight(&[1], 42),
        on("PRelu").weight(&[7, 6], 42),
        on("PRelu").weight(&[6], 42),
        on("HardSwish"),
        on("HardSigmoid"),
        on("HardSigmoid").float("alpha", 1.0 / 6.0),
        on("HardSigmoid").float("alpha", 0.4).float("beta", 0.3),
        on("Sigmoid"),
        on("Tanh"),
        on("Elu"),
        on("Elu").float("alpha", 0.5),
        on("Gelu").opset(20),
        on("Gelu").opset(20).text("approximate", "tanh"),
        on("Erf"),
        on("Softplus"),
        on("Selu"),
        on("Selu").float("alpha", 1.2).float("gamma", 0.9),
        on("Celu"),
        on("Celu").float("alpha", 0.5),
        on("Mish").opset(18),
        on("Swish").opset(24),
        on("Swish").opset(24).float("alpha", 0.6),
        on("Softsign"),
        on("ThresholdedRelu").float("alpha", 0.7),
        on("Shrink").float("bias", 0.2).float("lambd", 0.4),
        on("Softmax"),
        on("Softmax").int("axis", 1),
        on("Softmax").opset(11),
        on("Softmax").opset(11).int("axis", 2),
        on("LogSoftmax").int("axis", -2),
        on("LogSoftmax").opset(11).int("axis", -1),
    ]
}

pub fn clips_with_bounds_as_attributes_and_as_inputs() -> Vec<Case> {
    let clip = || case("Clip", &[image(43) * 4]);
    vec![
        clip().scalar(0.0).scalar(6.0),
        clip().scalar(-1.0),
        clip().skip().scalar(1.0),
        clip().opset(13),
        clip().float("min", 0.0).float("max", 6.0).opset(10),
        clip().float("max", 1.0).opset(7),
        // The bounds that exporters write for "none".
        clip().scalar(f32::MIN).scalar(f32::MAX),
        clip().float("min", f32::MIN).float("max", f32::MAX).opset(10),
        clip().scalar(0.0).scalar(f32::INFINITY),
    ]
}

pub fn pools() -> Vec<Case> {
    let max = || case("MaxPool", &[image(51)]);
    let average = || case("AveragePool", &[image(52)]);
    let mut cases = vec![case("GlobalAveragePool", &[image(50)]), case("GlobalMaxPool", &[image(50)])];
    cases.extend([
        max().ints("kernel_shape", &[2, 2]).ints("strides", &[2, 2]),
        max().ints("kernel_shape", &[3, 3]).ints("strides", &[2, 2]).ints("pads", &[1, 1, 1, 1]),
        max().ints("kernel_shape", &[3, 3]).ints("strides", &[2, 2]).ints("pads", &[0, 0, 1, 1]),
        max().ints("kernel_shape", &[3, 3]).ints("strides", &[2, 2]).ints("pads", &[2, 2, 2, 2]),
        max().ints("kernel_shape", &[3, 3]).ints("strides", &[2, 2]).int("ceil_mode", 1),
        max().ints("kernel_shape", &[2, 3]).ints("strides", &[3, 2]).ints("pads", &[0, 1, 1, 0]).int("ceil_mode", 1),
        max().ints("kernel_shape", &[2, 2]).ints("dilations", &[2, 3]),
        max().ints("kernel_shape", &[3, 2]).text("auto_pad", "SAME_UPPER").ints("strides", &[2, 2]),
        max().ints("kernel_shape", &[2, 2]).text("auto_pad", "SAME_LOWER"),
        case("MaxPool", &[noise(&[1, 2, 9], 53)]).ints("kernel_shape", &[3]).ints("pads", &[1, 0]),
        case("MaxPool", &[noise(&[1, 2, 5, 5, 5], 54)]).ints("kernel_shape", &[2, 2, 3]),
        average().ints("kernel_shape", &[2, 2]).ints("strides", &[2, 2]),
        average().ints("kernel_shape", &[7, 6]),
        average().ints("kernel_shape", &[3, 3]).ints("pads", &[1, 1, 1, 1]),
        average().ints("kernel_shape", &[3, 3]).ints("pads", &[1, 1, 1, 1]).int("count_include_pad", 1),
        average().ints("kernel_shape", &[3, 3]).ints("pads", &[0, 1, 2, 0]).ints("strides", &[2, 1]),
        average().ints("kernel_shape", &[3, 3]).ints("pads", &[0, 1, 2, 0]).int("count_include_pad", 1),
        average().ints("kernel_shape", &[3, 2]).text("auto_pad", "SAME_UPPER").ints("strides", &[2, 2]),
        average().ints("kernel_shape", &[2, 2]).text("auto_pad", "SAME_LOWER"),
        average().ints("kernel_shape", &[3, 3]).ints("strides", &[2, 2]).int("ceil_mode", 1),
        average().ints("kernel_shape", &[2, 2]).ints("dilations", &[2, 3]).opset(19),
        case("AveragePool", &[noise(&[1, 2, 9], 55)]).ints("kernel_shape", &[3]).ints("pads", &[1, 1]),
        case("AveragePool", &[noise(&[1, 2, 5, 4, 5], 56)]).ints("kernel_shape", &[2, 2, 3]),
    ]);
    cases
}

pub fn averages_over_padding_where_the_size_is_rounded_up() -> Vec<Case> {
    let average = |x: i64| {
        case("AveragePool", &[noise(&[1, 2, x, x], 57)])
            .ints("kernel_shape", &[3, 3])
            .ints("strides", &[2, 2])
            .int("ceil_mode", 1)
            .int("count_include_pad", 1)
            .opset(19)
    };
    vec![
        average(6),
        average(6).ints("pads", &[1, 1, 1, 1]),
        average(7).ints("pads", &[1, 1, 1, 1]),
        average(6).ints("pads", &[0, 0, 1, 1]),
        average(8).ints("pads", &[1, 0, 0, 1]).ints("strides", &[3, 3]),
    ]
}

pub fn linear_layers() -> Vec<Case> {
    let a = || noise(&[3, 5], 61);
    vec![
        case("Gemm", &[a()]).weight(&[4, 5], 62).weight(&[4], 63).int("transB", 1),
        case("Gemm", &[a()]).weight(&[5, 4], 62).weight(&[4], 63),
        case("Gemm", &[a()]).weight(&[5, 4], 62),
        case("Gemm", &[a()]).weight(&[4, 5], 62).int("transB", 1).opset(11),
        case("Gemm", &[noise(&[5, 3], 61)]).weight(&[5, 4], 62).weight(&[3, 1], 63).int("transA", 1),
        case("Gemm", &[a()]).weight(&[5, 4], 62).weight(&[3, 4], 63).float("alpha", 0.5).float("beta", 2.0),
        case("Gemm", &[a()]).weight(&[5, 1], 62).weight(&[1], 63),
        case("Gemm", &[a()]).weight(&[5, 4], 62).scalar(0.7),
        case("MatMul", &[a()]).weight(&[5, 4], 64),
        case("MatMul", &[noise(&[2, 3, 5], 65)]).weight(&[5, 4], 64),
        case("MatMul", &[noise(&[2, 3, 4, 5], 66), noise(&[3, 5, 2], 67)]),
        case("MatMul", &[noise(&[5], 68), noise(&[2, 5, 3], 69)]),
        case("MatMul", &[noise(&[5], 68), noise(&[5], 69)]),
    ]
}

pub fn arithmetic_with_broadcasting() -> Vec<Case> {
    let two = |op: &str| case(op, &[image(71), noise(&[4, 1, 6], 72)]);
    let mut cases: Vec<Case> = ["Add", "Sub", "Mul", "Div", "Min", "Max", "Sum"].iter().map(|op| two(op)).collect();
    cases.extend([
        case("Add", &[image(71), image(72)]).opset(7),
        case("Add", &[noise(&[1], 71), image(72)]),
        case("Mul", &[image(71), noise(&[], 72)]),
        case("Sum", &[image(71), image(72), noise(&[6], 73)]),
        case("Sum", &[image(71)]),
        case("Max", &[image(71), image(72), image(73)]),
        case("Min", &[image(71)]),
        case("Pow", &[image(71).abs() + 0.1, noise(&[4, 1, 1], 74)]),
        case("Pow", &[image(71)]).scalar(2.0),
        case("Pow", &[image(71).abs()]).scalar(0.5),
        case("Pow", &[image(71)]).numbers(&[3.0]),
        case("Pow", &[image(71)]).constant(TensorData::from_i64(&[], &[2])),
    ]);
    let whole = |seed| (image(seed) * 9).round();
    cases.extend([
        case("Mean", &[image(71), noise(&[6], 73)]),
        case("Mod", &[image(71) * 5, image(72).abs() + 0.5]).int("fmod", 1),
    ]);
    let small = image(77).clamp(-0.9, 0.9);
    cases.extend(["Sin", "Cos", "Tan", "Atan", "Sinh", "Cosh", "Asinh"].map(|op| case(op, &[image(78) * 2])));
    cases.extend(["Asin", "Acos", "Atanh"].map(|op| case(op, &[small.shallow_clone()])));
    cases.extend([
        case("Acosh", &[image(79).abs() + 1.0]),
        case("Sign", &[whole(76)]),
        case("Round", &[whole(76) / 2]),
    ]);
    let positive = image(75).abs() + 0.2;
    cases.extend(
        ["Sqrt", "Exp", "Log", "Neg", "Abs", "Reciprocal", "Floor", "Ceil"]
            .map(|op| case(op, &[positive.shallow_clone()])),
    );
    cases.extend(["Floor", "Ceil", "Neg", "Abs"].map(|op| case(op, &[image(76) * 3])));
    cases
}

pub fn comparisons_and_logic() -> Vec<Case> {
    let rounded = |seed| (image(seed) * 2).round();
    let two = |op: &str| case(op, &[rounded(81), rounded(82)]).gives(DataType::Bool);
    let bools = |values: &[u8]| TensorData { dtype: DataType::Bool, dims: vec![values.len()], bytes: values.to_vec() };
    let (a, b) = (bools(&[0, 0, 1, 1]), bools(&[0, 1, 0, 1]));
    let logic = |op: &str| case(op, &[]).constant(a.clone()).gives(DataType::Bool);
    let mut select = case("Where", &[noise(&[3, 4], 83), noise(&[4], 84)]).constant(b.clone());
    select.node.inputs.rotate_right(1);
    let mut cases: Vec<Case> = ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"].map(two).into();
    cases.extend([logic("And").constant(b.clone()), logic("Or").constant(b.clone()), logic("Xor").constant(b)]);
    let odd = Tensor::from_slice(&[1.0f32, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0]);
    let on = |op: &str| case(op, &[odd.shallow_clone()]).gives(DataType::Bool);
    cases.extend([logic("Not"), select, on("IsNaN"), on("IsInf"), on("IsInf").int("detect_negative", 0)]);
    cases.push(on("IsInf").int("detect_positive", 0));
    cases
}

pub fn reductions_with_axes_as_attribute_and_as_input() -> Vec<Case> {
    let x = || noise(&[2, 3, 4, 5], 91);
    let mut cases = Vec::new();
    let ops = ["Mean", "Max", "Min", "Prod", "Sum", "L1", "L2", "SumSquare", "LogSum", "LogSumExp"];
    for (op, since) in ops.map(|op| (format!("Reduce{op}"), if op == "Sum" { 13 } else { 18 })) {
        // The logarithm of a sum needs one above 0.
        let on = || case(&op, &[if op == "ReduceLogSum" { x().abs() } else { x() }]);
        cases.extend([
            on().ints("axes", &[2, 3]).opset(since - 2),
            on().ints("axes", &[-1, 1]).int("keepdims", 0).opset(since - 2),
            on().opset(since - 2),
            on().whole(&[2, 3]).opset(since),
            on().whole(&[-1, 0]).int("keepdims", 0).opset(since),
            on().int("keepdims", 0).opset(since),
            on().whole(&[]).int("noop_with_empty_axes", 1).opset(since),
        ]);
    }
    cases
}

pub fn views() -> Vec<Case> {
    let x = || noise(&[2, 3, 4, 5], 101);
    let thin = || noise(&[1, 3, 1, 5], 102);
    vec![
        case("Flatten", &[x()]),
        case("Flatten", &[x()]).int("axis", 0),
        case("Flatten", &[x()]).int("axis", -2),
        case("Flatten", &[x()]).int("axis", 4),
        case("Reshape", &[x()]).whole(&[0, -1]),
        case("Reshape", &[x()]).whole(&[4, 0, 10]),
        case("Reshape", &[x()]).whole(&[120]).opset(7),
        case("Reshape", &[noise(&[0, 3], 103)]).whole(&[3, 0]).int("allowzero", 1),
        case("Squeeze", &[thin()]),
        case("Squeeze", &[thin()]).whole(&[-2]),
        case("Squeeze", &[thin()]).ints("axes", &[0]).opset(11),
        case("Unsqueeze", &[thin()]).whole(&[0, -1]),
        case("Unsqueeze", &[thin()]).ints("axes", &[1, 3]).opset(11),
        case("Transpose", &[x()]),
        case("Transpose", &[x()]).ints("perm", &[0, 2, 3, 1]),
        case("Expand", &[thin()]).whole(&[2, 1, 4, 1]),
        case("Expand", &[noise(&[3, 1], 104)]).whole(&[2, 1, 4]),
        case("DepthToSpace", &[noise(&[1, 8, 2, 3], 105)]).int("blocksize", 2),
        case("DepthToSpace", &[noise(&[1, 8, 2, 3], 105)]).int("blocksize", 2).text("mode", "CRD"),
        case("SpaceToDepth", &[noise(&[1, 2, 4, 6], 106)]).int("blocksize", 2),
        case("Identity", &[x()]),
        case("Dropout", &[x()]),
        case("Dropout", &[x()]).float("ratio", 0.3).opset(10),
    ]
}

pub fn slices() -> Vec<Case> {
    let x = || noise(&[2, 6, 7, 8], 111);
    let slice = |starts: &[i64], ends: &[i64]| case("Slice", &[x()]).whole(starts).whole(ends);
    vec![
        slice(&[0, 1], &[1, 5]),
        slice(&[1, -3], &[i64::MAX, -1]).whole(&[-1, 1]),
        slice(&[0, 0], &[i64::MAX, i64::MAX]).whole(&[2, 3]).whole(&[2, 2]),
        slice(&[-1], &[i64::MIN]).whole(&[3]).whole(&[-1]),
        slice(&[5, 6], &[1, 0]).whole(&[1, 2]).whole(&[-2, -3]),
        slice(&[4], &[2]).whole(&[1]),
        slice(&[100], &[-100]).whole(&[2]).whole(&[-1]),
        case("Slice", &[x()]).ints("starts", &[1, 2]).ints("ends", &[3, 1000]).ints("axes", &[1, 3]).opset(9),
        case("Slice", &[x()]).ints("starts", &[1]).ints("ends", &[-1]).opset(7),
    ]
}

pub fn joins_splits_and_repeats() -> Vec<Case> {
    let x = || noise(&[2, 6, 5], 121);
    vec![
        case("Concat", &[x(), noise(&[2, 1, 5], 122), x()]).int("axis", 1),
        case("Concat", &[x(), noise(&[2, 6, 2], 122)]).int("axis", -1),
        case("Split", &[x()]).int("axis", 1).outputs(3),
        case("Split", &[x()]).int("axis", 1).whole(&[1, 5]).outputs(2),
        case("Split", &[x()]).int("axis", -2).ints("split", &[4, 2]).outputs(2).opset(11),
        case("Split", &[x()]).int("axis", 2).int("num_outputs", 2).outputs(2).opset(18),
        case("Gather", &[x()]).whole(&[2, 0, -1]).int("axis", 1),
        case("Gather", &[x()]).constant(TensorData::from_i64(&[], &[-2])).int("axis", 2),
        case("Gather", &[x()]).constant(TensorData::from_i64(&[2, 2], &[0, 1, 1, 0])),
        case("Tile", &[x()]).whole(&[2, 1, 3]),
    ]
}

/// Places as a constant, whole numbers.
fn places(dims: &[usize], values: &[i64]) -> TensorData {
    TensorData::from_i64(dims, values)
}

pub fn elements_by_place() -> Vec<Case> {
    let x = || noise(&[3, 4], 161);
    let by = |op: &str, at: TensorData| case(op, &[x()]).constant(at);
    let grid = || places(&[2, 3], &[0, 2, -1, 1, 0, 2]);
    let scatter = |op: &str| by(op, grid()).weight(&[2, 3], 162);
    let rows = || by("ScatterND", places(&[2, 1], &[2, -3])).weight(&[2, 4], 163);
    let single = || by("ScatterND", places(&[3, 2], &[0, 1, 2, 3, 1, -1])).weight(&[3], 164);
    let mut cases = vec![
        by("GatherElements", grid()),
        by("GatherElements", grid()).int("axis", 1),
        by("GatherND", places(&[2, 2], &[0, 1, 2, -1])),
        by("GatherND", places(&[2, 1], &[1, -1])),
        case("GatherND", &[noise(&[2, 3, 4], 165)]).constant(places(&[2, 1], &[2, 0])).int("batch_dims", 1),
        scatter("ScatterElements"),
        scatter("Scatter").opset(9),
        rows(),
        single(),
    ];
    let again = || by("ScatterElements", places(&[2, 3], &[0, 0, 1, 0, 2, 1])).weight(&[2, 3], 166);
    for reduction in ["add", "mul", "max", "min"] {
        let axis = i64::from(reduction == "add");
        cases.push(again().int("axis", axis).text("reduction", reduction).opset(18));
        cases.push(rows().text("reduction", reduction).opset(18));
    }
    cases
}

pub fn orders_along_an_axis() -> Vec<Case> {
    let x = || (noise(&[3, 5, 4], 171) * 4).round();
    let int = |case: Case| case.gives(DataType::Int64);
    let both = |case: Case| case.outputs(2);
    let (values, order) = (|case: Case| both(case).reads(0..1), |case: Case| int(both(case)).reads(1..2));
    let number = |value: i64| TensorData::from_i64(&[], &[value]);
    vec![
        values(case("TopK", &[x()]).whole(&[2])),
        values(case("TopK", &[x()]).whole(&[3]).int("axis", 1).int("largest", 0)),
        values(case("TopK", &[x()]).int("k", 2).int("axis", 0).opset(9)),
        order(case("TopK", &[x()]).whole(&[3]).int("axis", 1)),
        int(case("ArgMax", &[x()]).int("axis", 1)),
        int(case("ArgMax", &[x()]).int("axis", -1).int("keepdims", 0).int("select_last_index", 1)),
        int(case("ArgMin", &[x()]).int("axis", 1)),
        case("CumSum", &[x()]).constant(number(1)),
        case("CumSum", &[x()]).constant(number(-1)).int("exclusive", 1),
        case("CumSum", &[x()]).constant(number(0)).int("reverse", 1).int("exclusive", 1),
        case("Trilu", &[x()]),
        case("Trilu", &[x()]).constant(number(-1)).int("upper", 0),
        case("Trilu", &[x()]).constant(number(1)),
        case("Einsum", &[x(), noise(&[3, 4, 2], 172)]).text("equation", "b i j, b j k -> b i k"),
        case("Einsum", &[x()]).text("equation", "bij->bji"),
    ]
}

pub fn pads() -> Vec<Case> {
    let x = || noise(&[1, 3, 4, 5], 131);
    let pad = |amounts: &[i64]| case("Pad", &[x()]).whole(amounts);
    let all = [0, 1, 1, 2, 0, 0, 2, 1];
    vec![
        pad(&all),
        pad(&all).scalar(1.5),
        pad(&[0, 0, -1, 1, 0, 0, 1, -2]),
        pad(&all).skip().text("mode", "reflect"),
        pad(&all).skip().text("mode", "edge"),
        pad(&all).skip().text("mode", "wrap").opset(19),
        pad(&[1, 2, 0, 1]).scalar(-1.0).whole(&[1, -1]).opset(18),
        case("Pad", &[x()]).ints("pads", &all).float("value", 0.5).opset(10),
        case("Pad", &[x()]).ints("pads", &all).text("mode", "reflect").opset(7),
    ]
}

pub fn shapes_types_and_constants() -> Vec<Case> {
    let x = || noise(&[2, 6, 5], 141);
    let int = |case: Case| case.gives(DataType::Int64);
    let number = |value: i64| TensorData::from_i64(&[], &[value]);
    let tensor = |mut case: Case, name: &str, data: TensorData| {
        case.node.attrs.set(name, Attribute::Tensor(data.into()));
        case
    };
    vec![
        int(case("Shape", &[x()])),
        int(case("Shape", &[x()])).int("start", -2).int("end", 2),
        int(case("Size", &[x()])),
        int(case("Cast", &[x() * 5])).int("to", 7),
        case("Cast", &[x()]).int("to", 11).gives(DataType::Float64),
        case("Cast", &[x().round()]).int("to", 9).gives(DataType::Bool),
        int(case("CastLike", &[x() * 5])).whole(&[1]).opset(15),
        tensor(case("Constant", &[]), "value", TensorData::from_f32(&[2], &[1.0, 2.0])),
        int(case("Constant", &[])).ints("value_ints", &[3, 4]),
        case("Constant", &[]).float("value_float", 0.5),
        case("ConstantOfShape", &[]).whole(&[2, 3]),
        int(tensor(case("ConstantOfShape", &[]).whole(&[2]), "value", TensorData::from_i64(&[1], &[7]))),
        int(case("Range", &[])).constant(number(2)).constant(number(11)).constant(number(3)),
        int(case("Range", &[])).constant(number(5)).constant(number(-2)).constant(number(-2)),
        int(case("Range", &[])).constant(number(5)).constant(number(2)).constant(number(2)),
        case("Range", &[]).scalar(0.5).scalar(3.0).scalar(0.4),
    ]
}

pub fn integer_arithmetic_of_shapes() -> Vec<Case> {
    let int = |op: &str, a: &[i64], b: &[i64]| case(op, &[]).whole(a).whole(b).gives(DataType::Int64);
    vec![
        int("Add", &[1, 2], &[3]),
        int("Div", &[7, -7, 7], &[2, 2, -2]),
        int("Mul", &[7, -7], &[3]),
        int("Sub", &[1, 2], &[3, 5]),
        int("Max", &[1, 5], &[3]),
        int("Pow", &[2, 3], &[3]),
        int("Concat", &[1], &[2, 3]).int("axis", 0),
        int("Gather", &[4, 5, 6], &[-1]),
        case("ReduceProd", &[]).whole(&[2, 3, 4]).ints("axes", &[0]).int("keepdims", 0).gives(DataType::Int64),
        case("ReduceSum", &[]).whole(&[2, 3, 4]).whole(&[0]).gives(DataType::Int64),
        case("Unsqueeze", &[]).constant(TensorData::from_i64(&[], &[3])).whole(&[0]).gives(DataType::Int64),
        case("Slice", &[])
            .whole(&[1, 2, 3, 4])
            .whole(&[3])
            .whole(&[i64::MIN])
            .whole(&[0])
            .whole(&[-1])
            .gives(DataType::Int64),
    ]
}

pub fn resizes() -> Vec<Case> {
    let x = || noise(&[1, 2, 5, 6], 151);
    let scaled = |h: f32, w: f32| case("Resize", &[x()]).skip().numbers(&[1.0, 1.0, h, w]);
    let sized = |h: i64, w: i64| case("Resize", &[x()]).skip().skip().whole(&[1, 2, h, w]);
    let mut cases = vec![
        scaled(2.0, 2.0).text("coordinate_transformation_mode", "asymmetric").text("nearest_mode", "floor"),
        scaled(2.0, 1.5).text("coordinate_transformation_mode", "asymmetric").text("nearest_mode", "floor"),
        sized(3, 4).text("coordinate_transformation_mode", "asymmetric").text("nearest_mode", "floor"),
        scaled(2.0, 2.0).text("mode", "linear"),
        sized(8, 9).text("mode", "linear").text("coordinate_transformation_mode", "pytorch_half_pixel"),
        sized(1, 9).text("mode", "linear").text("coordinate_transformation_mode", "pytorch_half_pixel"),
        sized(3, 4).text("mode", "linear").text("coordinate_transformation_mode", "align_corners"),
        scaled(0.6, 0.7).text("mode", "linear"),
        scaled(1.0, 2.0).text("mode", "linear").text("coordinate_transformation_mode", "asymmetric"),
        scaled(1.3, 2.2)
            .text("mode", "linear")
            .text("coordinate_transformation_mode", "half_pixel_symmetric")
            .opset(19),
        case("Resize", &[x()]).skip().skip().whole(&[9, 10]).ints("axes", &[-2, -1]).text("mode", "linear").opset(18),
        case("Resize", &[x()]).numbers(&[1.0, 1.0, 2.0, 3.0]).opset(10),
        case("Resize", &[x()]).numbers(&[1.0, 1.0, 2.0, 3.0]).text("mode", "linear").opset(10),
        case("Upsample", &[x()]).numbers(&[1.0, 1.0, 2.0, 3.0]).opset(9),
        case("Upsample", &[x()]).numbers(&[1.0, 1.0, 2.0, 3.0]).text("mode", "linear").opset(9),
    ];
    for rounding in ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"] {
        for place in ["half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"] {
            let set = |case: Case| case.text("nearest_mode", rounding).text("coordinate_transformation_mode", place);
            cases.extend([set(scaled(1.7, 2.0)), set(sized(3, 9)), set(sized(4, 1))]);
        }
    }
    cases
}
