//! Shapes and element types of operator outputs: one family per file behind one table.

mod conv;
mod elementwise;
mod joining;
mod layout;
mod linear;
mod norm;
mod reduce;
mod resize;
mod sizes;

pub(crate) use joining::{cuts, pads, split_sizes};
pub(crate) use layout::permutation;
pub(crate) use sizes::bounds as shape_bounds;

use super::context::{Context, Outputs};

/// Infers the outputs of one node.
pub(crate) type Infer = fn(&Context) -> Outputs;

/// The inference of an operator of ONNX's own domain; `None` for those not in the table, whose outputs stay unknown.
pub(crate) fn infer(op: &str) -> Option<Infer> {
    TABLE.iter().find(|(name, _)| *name == op).map(|(_, infer)| *infer)
}

const TABLE: &[(&str, Infer)] = &[
    // Convolution and pooling over windows.
    ("Conv", conv::conv),
    ("ConvTranspose", conv::conv_transpose),
    ("MaxPool", conv::max_pool),
    ("AveragePool", conv::pool),
    ("LpPool", conv::pool),
    ("GlobalAveragePool", conv::global_pool),
    ("GlobalMaxPool", conv::global_pool),
    // Normalisation.
    ("BatchNormalization", norm::batch_normalization),
    ("InstanceNormalization", norm::per_channel),
    ("GroupNormalization", norm::group_normalization),
    ("LayerNormalization", norm::layer_normalization),
    ("LRN", elementwise::unary),
    ("LpNormalization", elementwise::unary),
    ("RMSNormalization", elementwise::unary),
    ("MeanVarianceNormalization", elementwise::unary),
    // One input, the same shape out.
    ("Relu", elementwise::unary),
    ("LeakyRelu", elementwise::unary),
    ("ThresholdedRelu", elementwise::unary),
    ("Clip", elementwise::unary),
    ("HardSwish", elementwise::unary),
    ("HardSigmoid", elementwise::unary),
    ("Sigmoid", elementwise::unary),
    ("Tanh", elementwise::unary),
    ("Elu", elementwise::unary),
    ("Celu", elementwise::unary),
    ("Selu", elementwise::unary),
    ("Gelu", elementwise::unary),
    ("Mish", elementwise::unary),
    ("Swish", elementwise::unary),
    ("Softplus", elementwise::unary),
    ("Softsign", elementwise::unary),
    ("Erf", elementwise::unary),
    ("Softmax", elementwise::softmax),
    ("LogSoftmax", elementwise::softmax),
    ("Sqrt", elementwise::unary),
    ("Exp", elementwise::unary),
    ("Log", elementwise::unary),
    ("Neg", elementwise::unary),
    ("Abs", elementwise::unary),
    ("Sign", elementwise::unary),
    ("Floor", elementwise::unary),
    ("Ceil", elementwise::unary),
    ("Round", elementwise::unary),
    ("Reciprocal", elementwise::unary),
    ("Not", elementwise::unary),
    ("Sin", elementwise::unary),
    ("Cos", elementwise::unary),
    ("Tan", elementwise::unary),
    ("Asin", elementwise::unary),
    ("Acos", elementwise::unary),
    ("Atan", elementwise::unary),
    ("Sinh", elementwise::unary),
    ("Cosh", elementwise::unary),
    ("Asinh", elementwise::unary),
    ("Acosh", elementwise::unary),
    ("Atanh", elementwise::unary),
    ("Shrink", elementwise::unary),
    ("CumSum", elementwise::unary),
    ("Trilu", elementwise::unary),
    ("Scatter", elementwise::unary),
    ("ScatterElements", elementwise::unary),
    ("ScatterND", elementwise::unary),
    ("IsNaN", elementwise::test),
    ("IsInf", elementwise::test),
    ("Identity", elementwise::unary),
    ("Dropout", elementwise::dropout),
    ("PRelu", elementwise::prelu),
    // Broadcasting.
    ("Add", elementwise::broadcast),
    ("Sub", elementwise::broadcast),
    ("Mul", elementwise::broadcast),
    ("Div", elementwise::broadcast),
    ("Mod", elementwise::broadcast),
    ("Pow", elementwise::power),
    ("Min", elementwise::broadcast),
    ("Max", elementwise::broadcast),
    ("Sum", elementwise::broadcast),
    ("Mean", elementwise::broadcast),
    ("And", elementwise::broadcast),
    ("Or", elementwise::broadcast),
    ("Xor", elementwise::broadcast),
    ("Equal", elementwise::compare),
    ("Greater", elementwise::compare),
    ("GreaterOrEqual", elementwise::compare),
    ("Less", elementwise::compare),
    ("LessOrEqual", elementwise::compare),
    ("Where", elementwise::select),
    // Reduction.
    ("ReduceMean", reduce::reduce),
    ("ReduceSum", reduce::reduce),
    ("ReduceMax", reduce::reduce),
    ("ReduceMin", reduce::reduce),
    ("ReduceProd", reduce::reduce),
    ("ReduceL1", reduce::reduce),
    ("ReduceL2", reduce::reduce),
    ("ReduceSumSquare", reduce::reduce),
    ("ReduceLogSum", reduce::reduce),
    ("ReduceLogSumExp", reduce::reduce),
    ("TopK", reduce::top_k),
    ("ArgMax", reduce::arg),
    ("ArgMin", reduce::arg),
    // Matrix products.
    ("Gemm", linear::gemm),
    ("MatMul", linear::matmul),
    // The same elements in another arrangement.
    ("Flatten", layout::flatten),
    ("Reshape", layout::reshape),
    ("Squeeze", layout::squeeze),
    ("Unsqueeze", layout::unsqueeze),
    ("Transpose", layout::transpose),
    ("DepthToSpace", layout::depth_to_space),
    ("SpaceToDepth", layout::space_to_depth),
    // Parts, joins and repeats.
    ("Concat", joining::concat),
    ("Split", joining::split),
    ("Slice", joining::slice),
    ("Gather", joining::gather),
    ("GatherElements", joining::gather_elements),
    ("GatherND", joining::gather_nd),
    ("Pad", joining::pad),
    ("Expand", joining::expand),
    ("Tile", joining::tile),
    ("Resize", resize::resize),
    ("Upsample", resize::upsample),
    // Constants, types and shapes as values.
    ("Constant", sizes::constant),
    ("ConstantOfShape", sizes::constant_of_shape),
    ("Range", sizes::range),
    ("Shape", sizes::shape),
    ("Size", sizes::size),
    ("Cast", sizes::cast),
    ("CastLike", sizes::cast_like),
];
