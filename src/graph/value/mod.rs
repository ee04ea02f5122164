//! The elements of values: constants folded, shape arithmetic followed through free sizes.

mod arithmetic;
mod generate;
mod movement;
pub(crate) mod numbers;
mod partial;

use super::shape::context::{Context, Trouble};
use super::shape::fact::{Fact, Known};

/// Computes a node's outputs from what is known about its inputs, given their inferred shapes; `None` for each output
/// that cannot be computed.
pub(crate) type Evaluate = fn(&Context, &[Fact]) -> Result<Vec<Option<Known>>, Trouble>;

/// How an operator of ONNX's own domain is computed here; the others are left to the executor.
pub(crate) fn evaluate(op: &str) -> Option<Evaluate> {
    TABLE.iter().find(|(name, _)| *name == op).map(|(_, evaluate)| *evaluate)
}

const TABLE: &[(&str, Evaluate)] = &[
    // The same elements in the same order.
    ("Identity", movement::same),
    ("Dropout", movement::same),
    ("Reshape", movement::same),
    ("Flatten", movement::same),
    ("Squeeze", movement::same),
    ("Unsqueeze", movement::same),
    // The same elements in other places.
    ("Transpose", movement::transpose),
    ("DepthToSpace", movement::depth_to_space),
    ("SpaceToDepth", movement::space_to_depth),
    ("Slice", movement::slice),
    ("Split", movement::split),
    ("Gather", movement::gather),
    ("Concat", movement::concat),
    ("Expand", movement::expand),
    ("Tile", movement::tile),
    ("Pad", movement::pad),
    // Shapes as values, fresh tensors.
    ("Shape", generate::shape),
    ("Size", generate::size),
    ("ConstantOfShape", generate::constant_of_shape),
    ("Range", generate::range),
    // Arithmetic.
    ("Cast", arithmetic::cast),
    ("CastLike", arithmetic::cast),
    ("Add", arithmetic::binary),
    ("Sub", arithmetic::binary),
    ("Mul", arithmetic::binary),
    ("Div", arithmetic::binary),
    ("Mod", arithmetic::binary),
    ("Pow", arithmetic::binary),
    ("Min", arithmetic::binary),
    ("Max", arithmetic::binary),
    ("Sum", arithmetic::binary),
    ("And", arithmetic::binary),
    ("Or", arithmetic::binary),
    ("Equal", arithmetic::binary),
    ("Greater", arithmetic::binary),
    ("GreaterOrEqual", arithmetic::binary),
    ("Less", arithmetic::binary),
    ("LessOrEqual", arithmetic::binary),
    ("Where", arithmetic::select),
    ("Not", arithmetic::unary),
    ("Neg", arithmetic::unary),
    ("Abs", arithmetic::unary),
    ("Sqrt", arithmetic::unary),
    ("Exp", arithmetic::unary),
    ("Log", arithmetic::unary),
    ("Floor", arithmetic::unary),
    ("Ceil", arithmetic::unary),
    ("Reciprocal", arithmetic::unary),
    ("Relu", arithmetic::unary),
    ("ReduceSum", arithmetic::reduce),
    ("ReduceProd", arithmetic::reduce),
    ("ReduceMean", arithmetic::reduce),
    ("ReduceMax", arithmetic::reduce),
    ("ReduceMin", arithmetic::reduce),
];
