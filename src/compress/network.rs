//! A teacher as the method sees it: the uploaded file, the folded graph, its blocks and its tap.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::exec;
use crate::graph::batch::free_batch;
use crate::graph::fold::{InputShapes, fold};
use crate::graph::{DataType, Dim, Graph, ValueInfo, to_inference};
use crate::images::ModelInput;
use crate::onnx;

use super::analyse::{Analysis, Interface, dim_text};
use super::block::{self, Block};
use super::companions::{self, Companion, Given};
use super::dominators::Dominators;
use super::tap::{self, Tap};
use super::{CompressError, macs, nominal, shared};

/// A loaded teacher.
pub struct Network {
    /// The file as uploaded, in the form that it is deployed in; exports are edits of it.
    pub model: onnx::Model,
    /// The graph that is run: shapes inferred, constants folded, batch free, nodes sorted.
    pub graph: Graph,
    /// The image input.
    pub input: ImageInput,
    /// The other inputs of the file; in `graph` they are nodes.
    pub companions: Vec<Companion>,
    /// The outputs that images change, (N, …); quality is measured on the first.
    pub answers: Vec<ValueInfo>,
    /// Height and width that the graph was folded with.
    pub size: (usize, usize),
    /// Where the features are captured.
    pub tap: Tap,
    /// Residual additions in graph order.
    pub blocks: Vec<Block>,
}

/// The input that takes the images: (N, C, H, W) in the graph that is run, whatever it is in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInput {
    /// Name in the graph that is run.
    pub name: String,
    /// Name in the file.
    pub file_name: String,
    /// Order of its dimensions in the file.
    pub layout: Layout,
    /// Channels: 3 for RGB, 1 for grey.
    pub channels: usize,
    /// Height where the file fixes it.
    pub height: Option<usize>,
    /// Width where the file fixes it.
    pub width: Option<usize>,
    /// Batch where the file fixes it.
    pub batch: Option<usize>,
    /// All sizes as the file has them, in its order.
    pub dims: [Dim; 4],
}

/// Order of an image input's dimensions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// (N, C, H, W), as PyTorch exports.
    #[default]
    Nchw,
    /// (N, H, W, C), as TensorFlow exports.
    Nhwc,
}

impl Layout {
    /// Sizes or other things by dimension, given as (N, C, H, W), in this order.
    pub fn order<T: Clone>(self, nchw: &[T; 4]) -> [T; 4] {
        let [n, c, h, w] = nchw.clone();
        match self {
            Self::Nchw => [n, c, h, w],
            Self::Nhwc => [n, h, w, c],
        }
    }

    /// What is given in this order as (N, C, H, W).
    pub fn as_nchw<T: Clone>(self, given: &[T; 4]) -> [T; 4] {
        let [a, b, c, d] = given.clone();
        match self {
            Self::Nchw => [a, b, c, d],
            Self::Nhwc => [a, d, b, c],
        }
    }

    /// Images, (n, C, H, W), in this order.
    pub fn arrange(self, images: &Tensor) -> Result<Tensor, tch::TchError> {
        Ok(match self {
            Self::Nchw => images.shallow_clone(),
            Self::Nhwc => images.f_permute([0, 2, 3, 1])?.f_contiguous()?,
        })
    }
}

impl Network {
    /// Decodes, folds and checks a file; a network with a free height or width is looked at with one that it computes with.
    pub fn load(bytes: &[u8]) -> Result<Self, CompressError> {
        Self::loaded(bytes, &Given::new(), |_| Ok(None))
    }

    /// Decodes, folds and checks a file, for images whose height and width `size` tells once the input is known, and `given`
    /// values for its other inputs. Every operator that is not supported is reported at once.
    pub fn load_for(
        bytes: &[u8],
        given: &Given,
        size: impl FnOnce(&ImageInput) -> Result<(usize, usize), CompressError>,
    ) -> Result<Self, CompressError> {
        Self::loaded(bytes, given, |input| size(input).map(Some))
    }

    fn loaded(
        bytes: &[u8],
        given: &Given,
        size: impl FnOnce(&ImageInput) -> Result<Option<(usize, usize)>, CompressError>,
    ) -> Result<Self, CompressError> {
        let mut model = onnx::decode(bytes)?;
        to_inference(&mut model.graph);
        let input = ImageInput::of(&model.graph).map_err(|refusal| with_obstacles(refusal, &model.graph))?;
        let companions = companions::find(&model.graph, &input, given)?;
        let at = |size| prepared(&model.graph, &input, &companions, size);
        let looked_at = nominal::looked_at(&input, size(&input)?, at);
        let (size, graph) = looked_at.map_err(|refusal| with_obstacles(refusal, &model.graph))?;
        CompressError::check(obstacles(&graph))?;
        let tree = Dominators::new(&graph);
        let (answers, blocks) = (answers(&graph, &tree)?, block::find(&graph, &tree)?);
        let tap = tap::find(&graph, &tree, &answers, &blocks);
        Ok(Self { model, graph, input, companions, answers, size, tap, blocks })
    }

    /// The block with this name, or an error with the nearest name.
    pub fn block(&self, name: &str) -> Result<&Block, CompressError> {
        let named = |block: &&Block| block.places().any(|place| place.name == name);
        self.blocks.iter().find(named).ok_or_else(|| CompressError::UnknownBlock {
            name: name.to_owned(),
            nearest: super::config::nearest(name, self.blocks.iter().map(|b| b.name.as_str())).map(str::to_owned),
        })
    }

    /// The place of a block among all, in graph order.
    pub fn depth(&self, block: &Block) -> Option<usize> {
        self.blocks.iter().position(|other| other.name == block.name)
    }

    /// Blocks that may be dropped, in graph order; an error that says what was looked at where there is none.
    pub fn droppable(&self) -> Result<Vec<&Block>, CompressError> {
        let found: Vec<&Block> = self.blocks.iter().filter(|block| block.droppable()).collect();
        if !found.is_empty() {
            return Ok(found);
        }
        let reasons: Vec<String> =
            self.blocks.iter().filter_map(|b| b.reason.as_ref().map(|r| format!("{}: {r}", b.name))).collect();
        Err(CompressError::NoDroppableBlock(match reasons.as_slice() {
            [] => "no residual block was found (an addition of a value and a branch that comes from it)".into(),
            _ => format!(
                "{} residual additions were found, none with an identity shortcut ({})",
                reasons.len(),
                reasons.join("; ")
            ),
        }))
    }

    /// The graph of an edited file as this network's own is: batch free, one input, folded.
    pub fn prepare(&self, file: &Graph) -> Result<Graph, CompressError> {
        prepared(file, &self.input, &self.companions, self.size)
    }

    /// Elements of the floating-point weights as the file stores them; values that inputs are fed are none.
    fn parameters(&self) -> usize {
        shared::stored(&self.model.graph, &self.graph)
            - self.companions.iter().map(|companion| companion.floats_in(&self.graph)).sum::<usize>()
    }

    /// What is reported about the network.
    pub fn analysis(&self) -> Analysis {
        let declared = &self.model.graph;
        Analysis {
            inputs: declared.inputs.iter().map(Interface::of).collect(),
            outputs: declared.outputs.iter().map(Interface::of).collect(),
            opset: declared.opset(),
            image_input: self.input.file_name.clone(),
            image_layout: self.input.layout,
            other_inputs: self.companions.iter().map(Companion::info).collect(),
            parameters: self.parameters() as u64,
            macs: macs::of_graph(&self.graph),
            feature_tap: format!("{}: {}", self.tap.values.join(", "), self.tap.reason),
            blocks: self.blocks.iter().map(Block::info).collect(),
        }
    }
}

/// The outputs that images change; each of them must have a row for each image.
fn answers(graph: &Graph, tree: &Dominators) -> Result<Vec<ValueInfo>, CompressError> {
    let changed = graph.outputs.iter().filter(|output| tree.is_changed_by_images(&output.name));
    let answers: Vec<ValueInfo> = changed.cloned().collect();
    let other = |output: &ValueInfo| graph.shape(&output.name).filter(|dims| !has_rows(dims));
    let refused = answers.iter().find_map(|output| Some((output, other(output)?)));
    if let Some((output, dims)) = refused {
        let dims: Vec<String> = dims.iter().map(dim_text).collect();
        return Err(CompressError::ModelInterface(format!(
            "output \"{}\" is ({}): its first dimension is not the images', N; export the network so that it answers (N, …)",
            output.name,
            dims.join(", ")
        )));
    }
    if answers.is_empty() {
        return Err(CompressError::ModelInterface("no output of the network depends on the images".into()));
    }
    Ok(answers)
}

/// True of (N, …), or where it cannot be told: where inference does not get as far as an output, a file may call its batch anything.
/// A multiple of it is something else.
pub(super) fn has_rows(dims: &[Dim]) -> bool {
    match dims.first() {
        Some(Dim::Symbol(name)) => !name.contains('*'),
        first => first == Some(&Dim::Unknown),
    }
}

/// The first dimension of what there is one of for each image.
fn batch() -> Dim {
    Dim::Symbol("N".into())
}

/// What stands in the way of running a folded graph.
fn obstacles(graph: &Graph) -> Vec<CompressError> {
    let unsupported = exec::unsupported(graph);
    let unsupported = (!unsupported.is_empty()).then_some(CompressError::Unsupported(unsupported));
    half_precision(graph).into_iter().chain(huge_value(graph)).chain(unsupported).collect()
}

/// The first value, in graph order, that is larger than any that a network is run with.
fn huge_value(graph: &Graph) -> Option<CompressError> {
    // 8 GiB of float32.
    const MOST: usize = 1 << 31;
    let inputs = graph.inputs.iter().map(|input| (None, &input.name));
    let written = graph.nodes.iter().flat_map(|node| node.outputs.iter().map(move |value| (Some(node), value)));
    inputs.chain(written).find_map(|(node, value)| {
        let elements = graph.elements(value).filter(|elements| *elements > MOST)?;
        let node = node.map(|node| node.label().to_owned());
        Some(CompressError::HugeValue { value: value.clone(), node, elements, limit: MOST })
    })
}

/// A refusal together with everything else that stands in the way of the same file, so that one more export is enough.
fn with_obstacles(refusal: CompressError, file: &Graph) -> CompressError {
    let mut all = vec![refusal];
    let known = file.inputs.iter().all(|input| input.ty.shape.is_some());
    match fold(file, &InputShapes::new()) {
        Ok(graph) if known => all.extend(obstacles(&graph)),
        _ => {
            let unknown = exec::unknown(file);
            all.extend((!unknown.is_empty()).then_some(CompressError::Unsupported(unknown)));
        }
    }
    CompressError::check(all).expect_err("there is one")
}

fn half_precision(graph: &Graph) -> Option<CompressError> {
    let half = |dtype| matches!(dtype, DataType::Float16 | DataType::BFloat16);
    let mut halves = graph.initializers.iter().filter(|(_, tensor)| half(tensor.dtype));
    let (name, tensor) = halves.next()?;
    Some(CompressError::HalfPrecision { tensor: name.clone(), count: 1 + halves.count(), dtype: tensor.dtype })
}

/// Batch free, one input, folded.
fn prepared(
    file: &Graph,
    input: &ImageInput,
    companions: &[Companion],
    size: (usize, usize),
) -> Result<Graph, CompressError> {
    let free = free_batch(file);
    if let Some(batch) = pinned_batch(&free, input) {
        return Err(CompressError::ModelInterface(format!(
            "the network computes with a batch of {batch} and no other; export it with a free one, in PyTorch by \
             dynamic_axes={{\"{}\": {{0: \"N\"}}}} or dynamic_shapes",
            input.file_name
        )));
    }
    let mut folded = fold(&companions::bind(&free, input, companions), &shapes(input, size))?;
    shared::tie(&mut folded);
    Ok(folded)
}

/// The batch that a network still has after it was to be freed.
fn pinned_batch(graph: &Graph, input: &ImageInput) -> Option<usize> {
    let info = graph.inputs.iter().find(|info| info.name == input.file_name)?;
    info.ty.shape.as_ref()?.first()?.known()
}

fn shapes(input: &ImageInput, (height, width): (usize, usize)) -> InputShapes {
    let dims = vec![batch(), Dim::Known(input.channels), Dim::Known(height), Dim::Known(width)];
    InputShapes::from([(input.name.clone(), dims)])
}

impl ImageInput {
    /// The first input of a network that takes images, or why none does.
    pub fn of(graph: &Graph) -> Result<Self, CompressError> {
        let mut refusals = Vec::new();
        for input in &graph.inputs {
            match Self::from(input, graph) {
                Ok(input) => return Ok(input),
                Err(refusal) => refusals.push(refusal),
            }
        }
        if refusals.is_empty() {
            refusals.push("the network has no input".to_owned());
        }
        Err(CompressError::ModelInterface(refusals.join("; ")))
    }

    fn from(input: &ValueInfo, graph: &Graph) -> Result<Self, String> {
        let name = &input.name;
        if input.ty.dtype != DataType::Float32 {
            return Err(format!("input \"{name}\" is {:?}; export the network with a float32 input", input.ty.dtype));
        }
        let shape = input.ty.shape.clone().unwrap_or_default();
        let dims = <[Dim; 4]>::try_from(shape)
            .map_err(|shape| format!("input \"{name}\" has {} dimensions; images are (N, C, H, W)", shape.len()))?;
        let [batch, second, third, last] = &dims;
        let (layout, channels, height, width) = match (colours(second), colours(last)) {
            (Some(channels), _) => (Layout::Nchw, channels, third, last),
            (None, Some(channels)) => (Layout::Nhwc, channels, second, third),
            (None, None) => {
                let found = second.known().map_or("a free number of".into(), |n| n.to_string());
                return Err(format!(
                    "input \"{name}\" has {found} channels; images have 1 (grey) or 3 (RGB), as (N, C, H, W) or (N, H, W, C)"
                ));
            }
        };
        let in_graph = match layout {
            Layout::Nchw => name.clone(),
            Layout::Nhwc => graph.free_name(&format!("{name}/nchw")),
        };
        let (height, width, batch) = (height.known(), width.known(), batch.known());
        Ok(Self { name: in_graph, file_name: name.clone(), layout, channels, height, width, batch, dims })
    }

    /// What images have to come out as.
    pub fn wants(&self) -> ModelInput {
        ModelInput { channels: Some(self.channels), height: self.height, width: self.width }
    }

    /// Height and width, where the file fixes both.
    pub fn size(&self) -> Option<(usize, usize)> {
        self.height.zip(self.width)
    }
}

/// The channels of an image where a dimension can be them: 1 is grey, 3 is RGB.
pub(super) fn colours(dim: &Dim) -> Option<usize> {
    dim.known().filter(|channels| [1, 3].contains(channels))
}

impl Interface {
    fn of(info: &ValueInfo) -> Self {
        let shape = info.ty.shape.iter().flatten().map(dim_text).collect();
        Self { name: info.name.clone(), dtype: format!("{:?}", info.ty.dtype).to_lowercase(), shape }
    }
}
