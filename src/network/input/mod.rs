//! The input that takes the images: its name, the order of its dimensions and its channels.

pub(crate) mod bind;
pub mod side_inputs;
pub(crate) mod size;

use std::collections::{BTreeSet, HashMap};

use tch::{Kind, Tensor};

use crate::graph::fold::fold;
use crate::graph::{DataType, Dim, Graph, InputShapes, Node, ValueInfo};
use crate::images::{ModelInput, Preprocess};
use crate::network::NetworkError;
use crate::spec::analysis::Layout;
use crate::spec::inputs::{Given, Value};

/// The input that takes the images: float (N, C, H, W) in the graph that is run, whatever its form in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInput {
    /// Name in the graph that is run.
    pub name: String,
    /// Name in the file.
    pub file_name: String,
    /// Order of its dimensions in the file.
    pub layout: Layout,
    /// Element type in the file: `Float32`, or `Uint8` if the network normalises the pixels itself.
    pub dtype: DataType,
    /// Channels: 3 for RGB, 1 for grey.
    pub channels: usize,
    /// Height if it is fixed in the file, in pixels.
    pub height: Option<usize>,
    /// Width if it is fixed in the file, in pixels.
    pub width: Option<usize>,
    /// Batch if it is fixed in the file.
    pub batch: Option<usize>,
    /// All sizes in the file's order.
    pub dims: [Dim; 4],
}

impl Layout {
    /// Reorders four items from (N, C, H, W) to this order.
    pub fn order<T: Clone>(self, nchw: &[T; 4]) -> [T; 4] {
        let [n, c, h, w] = nchw.clone();
        match self {
            Self::Nchw => [n, c, h, w],
            Self::Nhwc => [n, h, w, c],
        }
    }

    /// Reorders four items from this order to (N, C, H, W).
    pub fn as_nchw<T: Clone>(self, given: &[T; 4]) -> [T; 4] {
        let [a, b, c, d] = given.clone();
        match self {
            Self::Nchw => [a, b, c, d],
            Self::Nhwc => [a, d, b, c],
        }
    }

    /// Permutes images, (n, C, H, W), to this order.
    pub fn arrange(self, images: &Tensor) -> Result<Tensor, tch::TchError> {
        Ok(match self {
            Self::Nchw => images.shallow_clone(),
            Self::Nhwc => images.f_permute([0, 2, 3, 1])?.f_contiguous()?,
        })
    }
}

impl ImageInput {
    /// The input that the job feeds the images to, else the first input that can take images and is read; or the reason why
    /// none can.
    pub fn of(graph: &Graph, given: &Given) -> Result<Self, NetworkError> {
        let mut chosen = given.iter().filter(|(_, value)| matches!(value, Value::Word(_))).map(|(name, _)| name);
        let (first, second) = (chosen.next(), chosen.next());
        let refuse = |detail: String| Err(NetworkError::ModelInterface(detail));
        if let (Some(first), Some(second)) = (first, second) {
            return refuse(format!(
                "\"inputs\" feeds the images to \"{first}\" and \"{second}\"; feed them to one only: other inputs of the same \
                 size get them mirrored"
            ));
        }
        let any_read = graph.inputs.iter().any(|input| graph.is_read(&input.name));
        let candidate = |input: &&ValueInfo| match first {
            Some(name) => input.name == *name,
            // If none is read, another check reports the cause.
            None => !any_read || graph.is_read(&input.name),
        };
        let mut refusals = Vec::new();
        for input in graph.inputs.iter().filter(candidate) {
            match Self::from(input, graph) {
                Ok(input) => return Ok(input),
                Err(refusal) => refusals.push(refusal),
            }
        }
        if refusals.is_empty() {
            let names: Vec<String> = graph.inputs.iter().map(|input| format!("\"{}\"", input.name)).collect();
            refusals.push(match names.is_empty() {
                true => "the network has no input".to_owned(),
                false => format!(
                    "\"inputs\" feeds the images to an input that does not exist; the network has {}",
                    names.join(", ")
                ),
            });
        }
        refuse(refusals.join("; "))
    }

    /// An input as image input, or the reason why it cannot be one.
    pub(crate) fn from(input: &ValueInfo, graph: &Graph) -> Result<Self, String> {
        let (name, dtype) = (&input.name, input.ty.dtype);
        if ![DataType::Float32, DataType::Uint8].contains(&dtype) {
            return Err(format!("input \"{name}\" is {dtype:?}; export the network with a float32 or uint8 input"));
        }
        let shape = input.ty.shape.clone().unwrap_or_default();
        let dims = <[Dim; 4]>::try_from(shape)
            .map_err(|shape| format!("input \"{name}\" has {} dimensions; images are (N, C, H, W)", shape.len()))?;
        let (layout, channels) = order_and_channels(name, &dims, graph)?;
        if dtype == DataType::Uint8 {
            widened_first(name, graph)?;
        }
        let in_graph = match layout {
            Layout::Nchw => name.clone(),
            Layout::Nhwc => graph.free_name(&format!("{name}/nchw")),
        };
        let [batch, _, height, width] = layout.as_nchw(&dims);
        let (height, width, batch) = (height.known(), width.known(), batch.known());
        Ok(Self { name: in_graph, file_name: name.clone(), layout, dtype, channels, height, width, batch, dims })
    }

    /// The form that preprocessing must yield.
    pub fn wants(&self) -> ModelInput {
        ModelInput { channels: Some(self.channels), height: self.height, width: self.width }
    }

    /// Height and width, if both are fixed in the file.
    pub fn size(&self) -> Option<(usize, usize)> {
        self.height.zip(self.width)
    }

    /// Images, (n, C, H, W), in the file's order, as integers from 0 to 255 if it takes bytes.
    pub fn fed(&self, images: &Tensor) -> Result<Tensor, tch::TchError> {
        let arranged = self.layout.arrange(&self.exact(images)?)?;
        if self.dtype == DataType::Uint8 { arranged.f_to_kind(Kind::Uint8) } else { Ok(arranged) }
    }

    /// Images, (n, C, H, W), as they reach the network: rounded if it takes bytes.
    pub fn exact(&self, images: &Tensor) -> Result<Tensor, tch::TchError> {
        if self.dtype == DataType::Uint8 { images.f_round()?.f_clamp(0.0, 255.0) } else { Ok(images.shallow_clone()) }
    }

    /// The preprocessing of a job's images for this input; errors as [`preprocess_of_bytes`].
    pub fn preprocess(&self, given: &Preprocess) -> Result<Preprocess, NetworkError> {
        match self.dtype {
            DataType::Uint8 => preprocess_of_bytes(&self.file_name, given),
            _ => Ok(given.clone()),
        }
    }
}

/// The preprocessing for an input that takes bytes: the job's, without a division unless the job sets one.
///
/// # Errors
/// If the job scales pixels that the network takes unchanged.
pub fn preprocess_of_bytes(input: &str, given: &Preprocess) -> Result<Preprocess, NetworkError> {
    let usual = Preprocess::default();
    let unscaled = given.divide_by == 1.0 || given.divide_by == usual.divide_by;
    if unscaled && (&given.mean, &given.std) == (&usual.mean, &usual.std) {
        return Ok(Preprocess { divide_by: 1.0, ..given.clone() });
    }
    Err(NetworkError::ModelInterface(format!(
        "input \"{input}\" takes bytes, which the network normalises itself: remove divide_by, mean and std from \"preprocess\""
    )))
}

/// The dimension as channels, if it is 1 (grey) or 3 (RGB).
fn colours(dim: &Dim) -> Option<usize> {
    dim.known().filter(|channels| [1, 3].contains(channels))
}

/// The order of an image input's dimensions and its channels: from its sizes or, if those are dynamic, from the convolutions
/// that read it.
fn order_and_channels(name: &str, dims: &[Dim; 4], graph: &Graph) -> Result<(Layout, usize), String> {
    let [_, second, _, last] = dims;
    match (colours(second), colours(last)) {
        (Some(channels), _) => return Ok((Layout::Nchw, channels)),
        (None, Some(channels)) => return Ok((Layout::Nhwc, channels)),
        (None, None) => {}
    }
    let found = read_by_convolutions(graph, name);
    let free = |axis: usize| dims[axis].known().is_none();
    let fix = "export it with 1 or 3 fixed channels, for example with an example input of (1, 3, 224, 224)";
    match found.iter().collect::<Vec<_>>()[..] {
        [&(axis, channels)] if free(axis) && [1, 3].contains(&channels) => {
            Ok((if axis == 1 { Layout::Nchw } else { Layout::Nhwc }, channels))
        }
        [&(axis, channels)] if free(axis) => Err(format!(
            "input \"{name}\" has dynamic channels and is read by a convolution of {channels}; images have 1 (grey) or 3 (RGB)"
        )),
        [] if free(1) => Err(format!(
            "input \"{name}\" has dynamic channels, and no convolution that reads it determines their number: {fix}"
        )),
        [_, _, ..] if free(1) => {
            let all: BTreeSet<String> = found.iter().map(|(_, channels)| channels.to_string()).collect();
            let all: Vec<String> = all.into_iter().collect();
            Err(format!(
                "input \"{name}\" has dynamic channels, and the convolutions that read it disagree ({}): {fix}",
                all.join(" and ")
            ))
        }
        _ => {
            let found = second.known().map_or("a dynamic number of".into(), |n| n.to_string());
            Err(format!(
                "input \"{name}\" has {found} channels; images have 1 (grey) or 3 (RGB), as (N, C, H, W) or (N, H, W, C)"
            ))
        }
    }
}

/// The axis of an input that the first convolutions behind it use as channels, and their number.
fn read_by_convolutions(graph: &Graph, input: &str) -> BTreeSet<(usize, usize)> {
    // Weights may be computed.
    let folded = fold(graph, &InputShapes::new());
    let graph = folded.as_ref().unwrap_or(graph);
    let mut found = BTreeSet::new();
    // Axes of the input in the order of each value that still has them.
    let mut orders: HashMap<&str, [usize; 4]> = HashMap::from([(input, [0, 1, 2, 3])]);
    for node in graph.nodes.iter().filter(|node| node.is_onnx()) {
        let Some(order) = node.inputs.iter().find_map(|name| orders.get(name.as_str()).copied()) else { continue };
        if node.is("Conv") {
            let kernel =
                node.input(1).and_then(|name| graph.initializers.get(name)).filter(|kernel| kernel.dims.len() == 4);
            let groups = usize::try_from(node.attrs.int("group", 1)).unwrap_or(1);
            found.extend(kernel.map(|kernel| (order[1], kernel.dims[1].saturating_mul(groups))));
        } else if let Some(order) = order_behind(node, order) {
            orders.extend(node.outputs.iter().map(|output| (output.as_str(), order)));
        }
    }
    found
}

/// The order of an input's axes behind a node that keeps them four.
fn order_behind(node: &Node, order: [usize; 4]) -> Option<[usize; 4]> {
    const KEEPS: [&str; 14] = [
        "Identity",
        "Dropout",
        "Cast",
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Pad",
        "Clip",
        "Resize",
        "Upsample",
        "BatchNormalization",
        "InstanceNormalization",
        "Relu",
    ];
    if node.is("Transpose") {
        let turned: Vec<usize> = node
            .attrs
            .ints("perm")?
            .iter()
            .filter_map(|axis| order.get(usize::try_from(*axis).ok()?).copied())
            .collect();
        return turned.try_into().ok();
    }
    KEEPS.contains(&node.op.as_str()).then_some(order)
}

/// Refuses a network that computes with bytes, which overflow, before it converts them to floats.
fn widened_first(input: &str, graph: &Graph) -> Result<(), String> {
    const MOVES: [&str; 9] =
        ["Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Concat", "Gather"];
    let mut bytes: BTreeSet<&str> = BTreeSet::from([input]);
    for node in &graph.nodes {
        if !node.inputs.iter().any(|name| bytes.contains(name.as_str())) {
            continue;
        }
        if MOVES.contains(&node.op.as_str()) {
            bytes.extend(node.outputs.iter().map(String::as_str));
        } else if !["Cast", "CastLike", "Shape", "Size"].contains(&node.op.as_str()) {
            return Err(format!(
                "input \"{input}\" is uint8, but {} `{}` reads it directly; cast it to float32 first",
                node.op,
                node.label()
            ));
        }
    }
    Ok(())
}
