//! The operators of ONNX's own domain, one family per file, behind one flat table.
//!
//! Sources are the operator pages at <https://onnx.ai/onnx/operators/>, where every operator's opsets are listed; all opsets are
//! covered, and what an operator looked like in an old one is said where it is read.

use super::kernel::{Built, Refusal, Spec, refuse};
use crate::graph::{DataType, Node, ValueType};

mod activation;
mod conv;
mod create;
mod elementwise;
mod hints;
mod index;
mod linear;
mod norm;
mod order;
mod pool;
mod reduce;
mod resize;
mod scatter;
mod shape;
mod softmax;
mod window;

pub(super) use hints::is_control_flow;

/// An operator: its name, how many inputs it needs at least, and how it is planned.
struct Entry(&'static str, usize, fn(&Spec) -> Built);

#[rustfmt::skip]
const TABLE: &[Entry] = &[
    Entry("Conv", 2, conv::conv),
    Entry("ConvTranspose", 2, conv::conv_transpose),
    Entry("BatchNormalization", 5, norm::batch_normalization),
    Entry("LayerNormalization", 2, norm::layer_normalization),
    Entry("InstanceNormalization", 3, norm::instance_normalization),
    Entry("GroupNormalization", 3, norm::group_normalization),
    Entry("RMSNormalization", 2, norm::rms_normalization),
    Entry("MeanVarianceNormalization", 1, norm::mean_variance_normalization),
    Entry("LpNormalization", 1, norm::lp_normalization),
    Entry("LRN", 1, norm::local_response_normalization),
    Entry("Relu", 1, activation::relu),
    Entry("Clip", 1, activation::clip),
    Entry("LeakyRelu", 1, activation::leaky_relu),
    Entry("PRelu", 2, activation::prelu),
    Entry("HardSwish", 1, activation::hard_swish),
    Entry("HardSigmoid", 1, activation::hard_sigmoid),
    Entry("Sigmoid", 1, activation::sigmoid),
    Entry("Tanh", 1, activation::tanh),
    Entry("Elu", 1, activation::elu),
    Entry("Gelu", 1, activation::gelu),
    Entry("Erf", 1, activation::erf),
    Entry("Softplus", 1, activation::softplus),
    Entry("Selu", 1, activation::selu),
    Entry("Celu", 1, activation::celu),
    Entry("Mish", 1, activation::mish),
    Entry("Swish", 1, activation::swish),
    Entry("Softsign", 1, activation::softsign),
    Entry("ThresholdedRelu", 1, activation::thresholded_relu),
    Entry("Shrink", 1, activation::shrink),
    Entry("Softmax", 1, softmax::softmax),
    Entry("LogSoftmax", 1, softmax::log_softmax),
    Entry("GlobalAveragePool", 1, pool::global_average),
    Entry("GlobalMaxPool", 1, pool::global_max),
    Entry("AveragePool", 1, pool::average),
    Entry("MaxPool", 1, pool::max),
    Entry("Gemm", 2, linear::gemm),
    Entry("MatMul", 2, linear::matmul),
    Entry("Einsum", 1, linear::einsum),
    Entry("Add", 2, elementwise::add),
    Entry("Sub", 2, elementwise::sub),
    Entry("Mul", 2, elementwise::mul),
    Entry("Div", 2, elementwise::div),
    Entry("Pow", 2, elementwise::pow),
    Entry("Min", 1, elementwise::min),
    Entry("Max", 1, elementwise::max),
    Entry("Sum", 1, elementwise::sum),
    Entry("Mean", 1, elementwise::mean),
    Entry("Mod", 2, elementwise::modulo),
    Entry("Sqrt", 1, elementwise::sqrt),
    Entry("Exp", 1, elementwise::exp),
    Entry("Log", 1, elementwise::log),
    Entry("Neg", 1, elementwise::neg),
    Entry("Abs", 1, elementwise::abs),
    Entry("Reciprocal", 1, elementwise::reciprocal),
    Entry("Floor", 1, elementwise::floor),
    Entry("Ceil", 1, elementwise::ceil),
    Entry("Round", 1, elementwise::round),
    Entry("Sign", 1, elementwise::sign),
    Entry("Sin", 1, elementwise::sin),
    Entry("Cos", 1, elementwise::cos),
    Entry("Tan", 1, elementwise::tan),
    Entry("Asin", 1, elementwise::asin),
    Entry("Acos", 1, elementwise::acos),
    Entry("Atan", 1, elementwise::atan),
    Entry("Sinh", 1, elementwise::sinh),
    Entry("Cosh", 1, elementwise::cosh),
    Entry("Asinh", 1, elementwise::asinh),
    Entry("Acosh", 1, elementwise::acosh),
    Entry("Atanh", 1, elementwise::atanh),
    Entry("IsNaN", 1, elementwise::is_nan),
    Entry("IsInf", 1, elementwise::is_inf),
    Entry("Equal", 2, elementwise::equal),
    Entry("Greater", 2, elementwise::greater),
    Entry("GreaterOrEqual", 2, elementwise::greater_or_equal),
    Entry("Less", 2, elementwise::less),
    Entry("LessOrEqual", 2, elementwise::less_or_equal),
    Entry("And", 2, elementwise::and),
    Entry("Or", 2, elementwise::or),
    Entry("Xor", 2, elementwise::xor),
    Entry("Not", 1, elementwise::not),
    Entry("Where", 3, elementwise::select),
    Entry("ReduceMean", 1, reduce::mean),
    Entry("ReduceSum", 1, reduce::sum),
    Entry("ReduceMax", 1, reduce::max),
    Entry("ReduceMin", 1, reduce::min),
    Entry("ReduceProd", 1, reduce::prod),
    Entry("ReduceL1", 1, reduce::l1),
    Entry("ReduceL2", 1, reduce::l2),
    Entry("ReduceSumSquare", 1, reduce::sum_square),
    Entry("ReduceLogSum", 1, reduce::log_sum),
    Entry("ReduceLogSumExp", 1, reduce::log_sum_exp),
    Entry("ArgMax", 1, reduce::arg_max),
    Entry("ArgMin", 1, reduce::arg_min),
    Entry("TopK", 1, order::top_k),
    Entry("CumSum", 2, order::cum_sum),
    Entry("Trilu", 1, order::trilu),
    Entry("Flatten", 1, shape::flatten),
    Entry("Reshape", 1, shape::reshape),
    Entry("Squeeze", 1, shape::squeeze),
    Entry("Unsqueeze", 1, shape::unsqueeze),
    Entry("Transpose", 1, shape::transpose),
    Entry("Expand", 2, shape::expand),
    Entry("DepthToSpace", 1, shape::depth_to_space),
    Entry("SpaceToDepth", 1, shape::space_to_depth),
    Entry("Identity", 1, shape::identity),
    Entry("Dropout", 1, shape::dropout),
    Entry("Concat", 1, index::concat),
    Entry("Split", 1, index::split),
    Entry("Slice", 1, index::slice),
    Entry("Gather", 2, index::gather),
    Entry("GatherElements", 2, scatter::gather_elements),
    Entry("GatherND", 2, scatter::gather_nd),
    Entry("Scatter", 3, scatter::scatter_elements),
    Entry("ScatterElements", 3, scatter::scatter_elements),
    Entry("ScatterND", 3, scatter::scatter_nd),
    Entry("Pad", 1, index::pad),
    Entry("Tile", 2, index::tile),
    Entry("Shape", 1, create::shape),
    Entry("Size", 1, create::size),
    Entry("Cast", 1, create::cast),
    Entry("CastLike", 2, create::cast_like),
    Entry("Constant", 0, create::constant),
    Entry("ConstantOfShape", 1, create::constant_of_shape),
    Entry("Range", 3, create::range),
    Entry("Resize", 1, resize::resize),
    Entry("Upsample", 1, resize::upsample),
];

/// Plans a node, or says why it cannot be run.
pub(super) fn build(spec: &Spec) -> Built {
    let node = spec.node;
    if !node.is_onnx() {
        return Err(refusal(format!("operators of the domain \"{}\" are not supported", node.domain))
            .hint(hints::of_domain(&node.domain)));
    }
    let Some(Entry(_, needed, plan)) = entry(node) else {
        return Err(refusal("this operator is not supported").hint(hints::of_operator(&node.op)));
    };
    if node.outputs.is_empty() || (0..*needed).any(|index| node.input(index).is_none()) {
        return refuse(format!("it needs {needed} inputs and an output"));
    }
    check_types(spec)?;
    plan(spec)
}

/// True for an operator that can be run, if not with every input and attribute.
pub(super) fn has(node: &Node) -> bool {
    node.is_onnx() && entry(node).is_some()
}

fn entry(node: &Node) -> Option<&'static Entry> {
    TABLE.iter().find(|entry| entry.0 == node.op)
}

/// Names of all operators that can be run, in the table's order.
pub(super) fn names() -> Vec<&'static str> {
    TABLE.iter().map(|entry| entry.0).collect()
}

/// True if the operator always writes a tensor of its own, never a view or its input.
///
/// Also, none of these needs its own output for its gradient, so a successor may overwrite it.
pub(super) fn makes_new_tensor(op: &str) -> bool {
    matches!(op, "Conv" | "ConvTranspose" | "BatchNormalization" | "Gemm" | "MatMul" | "Add")
}

/// How many of the operator's first inputs it could write its result over.
pub(super) fn overwritable_inputs(op: &str) -> usize {
    match op {
        "Relu" | "Clip" => 1,
        "Add" => 2,
        _ => 0,
    }
}

fn check_types(spec: &Spec) -> Result<(), Refusal> {
    let of = |name: &String| match spec.graph.initializers.get(name) {
        Some(tensor) => Some(tensor.dtype),
        None => spec.graph.values.get(name).map(|ValueType { dtype, .. }| *dtype),
    };
    match spec
        .node
        .inputs
        .iter()
        .find_map(|name| of(name).filter(|dtype| is_foreign(*dtype)).map(|dtype| (name, dtype)))
    {
        Some((name, dtype)) => refuse(format!("input \"{name}\" has ONNX element type {}", dtype.to_onnx())),
        None => Ok(()),
    }
}

/// Undefined (0) is what exporters leave where they do not know.
fn is_foreign(dtype: DataType) -> bool {
    matches!(dtype, DataType::Other(number) if number != 0)
}

fn refusal(reason: impl Into<String>) -> Refusal {
    Refusal { reason: reason.into(), hint: String::new() }
}
