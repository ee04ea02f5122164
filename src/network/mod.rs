//! A teacher as the method sees it: the uploaded file, the folded graph, its blocks and its tap.

pub mod analyse;
pub mod blocks;
pub mod dominators;
mod error;
pub mod input;
pub mod macs;
mod obstacles;
pub mod outputs;
pub mod tap;

use self::blocks::{Block, shared};
use self::dominators::Dominators;
use self::input::bind::bind;
use self::input::side_inputs::{self, Companion};
use self::input::{ImageInput, size};
use self::obstacles::{obstacles, with_obstacles};
use self::outputs::Judge;
use self::tap::Tap;
use crate::graph::batch::free_batch;
use crate::graph::dim::dim_text;
use crate::graph::fold::fold;
use crate::graph::{Dim, Graph, InputShapes, ValueInfo, inline_branches, to_inference};
use crate::onnx;
use crate::spec::analysis::{Analysis, Interface};
use crate::spec::inputs::Given;

pub(crate) use self::error::fault_of_node;
pub use self::error::{NetworkError, Origin};

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
    /// The outputs that images change.
    pub outputs: Vec<ValueInfo>,
    /// What stands for them, (N, …) in floating point: themselves, or what labels and masks are made from ([`outputs`](mod@outputs)). Quality is
    /// measured on the first.
    pub answers: Vec<ValueInfo>,
    /// Height and width that the graph was folded with.
    pub size: (usize, usize),
    /// Where the features are captured.
    pub tap: Tap,
    /// Residual additions in graph order.
    pub blocks: Vec<Block>,
}

impl Network {
    /// Decodes, folds and checks a file; a network with a free height or width is looked at with one that it computes with.
    pub fn load(bytes: &[u8]) -> Result<Self, NetworkError> {
        Self::load_with(bytes, &Given::new())
    }

    /// The same with what a job gives for its inputs.
    pub fn load_with(bytes: &[u8], given: &Given) -> Result<Self, NetworkError> {
        Self::loaded(bytes, given, |_| Ok(None))
    }

    /// Decodes, folds and checks a file, for images whose height and width `size` tells once the input is known, and `given`
    /// values for its other inputs. Every operator that is not supported is reported at once.
    pub fn load_for(
        bytes: &[u8],
        given: &Given,
        size: impl FnOnce(&ImageInput) -> Result<(usize, usize), NetworkError>,
    ) -> Result<Self, NetworkError> {
        Self::loaded(bytes, given, |input| size(input).map(Some))
    }

    fn loaded(
        bytes: &[u8],
        given: &Given,
        size: impl FnOnce(&ImageInput) -> Result<Option<(usize, usize)>, NetworkError>,
    ) -> Result<Self, NetworkError> {
        let mut model = onnx::decode(bytes)?;
        model.graph = as_deployed(model.graph);
        let input = ImageInput::of(&model.graph, given).map_err(|refusal| with_obstacles(refusal, &model.graph))?;
        let companions = side_inputs::find(&model.graph, &input, given)?;
        let at = |size| prepared(&model.graph, &input, &companions, size);
        let looked_at = size::looked_at(&input, size(&input)?, at);
        let (size, graph) = looked_at.map_err(|refusal| with_obstacles(refusal, &model.graph))?;
        NetworkError::check(obstacles(&graph))?;
        let tree = Dominators::new(&graph);
        let outputs = outputs(&graph, &tree)?;
        let (answers, blocks) = (outputs::answers(&graph, &outputs)?, blocks::find(&graph, &tree)?);
        let tap = tap::find(&graph, &tree, &answers, &blocks);
        tap::check(&graph, &outputs, &answers, &blocks)?;
        Ok(Self { model, graph, input, companions, outputs, answers, size, tap, blocks })
    }

    /// The block with this name, or an error with the nearest name.
    pub fn block(&self, name: &str) -> Result<&Block, NetworkError> {
        let named = |block: &&Block| block.places().any(|place| place.name == name);
        self.blocks.iter().find(named).ok_or_else(|| NetworkError::UnknownBlock {
            name: name.to_owned(),
            nearest: crate::nearest::nearest(name, self.blocks.iter().map(|b| b.name.as_str())).map(str::to_owned),
        })
    }

    /// The place of a block among all, in graph order.
    pub fn depth(&self, block: &Block) -> Option<usize> {
        self.blocks.iter().position(|other| other.name == block.name)
    }

    /// Blocks that may be dropped, in graph order; an error that says what was looked at where there is none.
    pub fn droppable(&self) -> Result<Vec<&Block>, NetworkError> {
        let found: Vec<&Block> = self.blocks.iter().filter(|block| block.droppable()).collect();
        if !found.is_empty() {
            return Ok(found);
        }
        let reasons: Vec<String> =
            self.blocks.iter().filter_map(|b| b.reason.as_ref().map(|r| format!("{}: {r}", b.name))).collect();
        Err(NetworkError::NoDroppableBlock(match reasons.as_slice() {
            [] => "no residual block was found (an addition of a value and a branch computed from it)".into(),
            _ => format!(
                "{} residual additions were found, none with an identity shortcut ({})",
                reasons.len(),
                reasons.join("; ")
            ),
        }))
    }

    /// The names of [`Self::answers`] in a student's graph, or in an edited file's: what stands for an output may have another name
    /// once the block ahead of it is gone.
    pub fn answers_in(&self, graph: &Graph) -> Vec<String> {
        Judge::new(graph).all(&self.outputs).into_iter().map(str::to_owned).collect()
    }

    /// The graph of an edited file as this network's own is: batch free, one input, folded.
    pub fn prepare(&self, file: &Graph) -> Result<Graph, NetworkError> {
        prepared(&as_deployed(file.clone()), &self.input, &self.companions, self.size)
    }

    /// Elements of the floating-point weights as the file stores them; values that inputs are fed are none.
    fn parameters(&self) -> usize {
        shared::stored(&self.model.graph, &self.graph)
            - self.companions.iter().map(|companion| companion.floats_in(&self.graph, self.size)).sum::<usize>()
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
            image_channels: Some(self.input.channels),
            other_inputs: self.companions.iter().map(Companion::info).collect(),
            parameters: self.parameters() as u64,
            macs: macs::of_graph(&self.graph),
            feature_tap: format!("{}: {}", self.tap.values.join(", "), self.tap.reason),
            blocks: self.blocks.iter().map(Block::info).collect(),
            alternatives: Vec::new(),
        }
    }
}

/// The outputs that images change.
fn outputs(graph: &Graph, tree: &Dominators) -> Result<Vec<ValueInfo>, NetworkError> {
    let changed = graph.outputs.iter().filter(|output| tree.is_changed_by_images(&output.name));
    let outputs: Vec<ValueInfo> = changed.cloned().collect();
    if outputs.is_empty() {
        return Err(NetworkError::ModelInterface("no output of the network depends on the images".into()));
    }
    Ok(outputs)
}

/// The first dimension of what there is one of for each image.
fn batch() -> Dim {
    Dim::Symbol("N".into())
}

/// A file's graph in the form that it is deployed in: branches that are decided in their place, and nothing that trains.
fn as_deployed(mut file: Graph) -> Graph {
    inline_branches(&mut file);
    to_inference(&mut file);
    file
}

/// Batch free, one input, folded.
fn prepared(
    file: &Graph,
    input: &ImageInput,
    companions: &[Companion],
    size: (usize, usize),
) -> Result<Graph, NetworkError> {
    let free = free_batch(file);
    let mut shapes = shapes(input, size);
    if let Some(batch) = pinned_batch(&free, input) {
        // Whatever else is wrong may be all that keeps the batch from being freed.
        shapes.values_mut().for_each(|dims| dims[0] = Dim::Known(batch));
        NetworkError::check(obstacles(&fold(&bind(&free, input, companions, size), &shapes)?))?;
        return Err(NetworkError::ModelInterface(format!(
            "the network runs only with a batch of {batch}; export it with a dynamic batch, in PyTorch by \
             dynamic_axes={{\"{}\": {{0: \"N\"}}}} or dynamic_shapes",
            input.file_name
        )));
    }
    let mut folded = fold(&bind(&free, input, companions, size), &shapes)?;
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

impl Interface {
    fn of(info: &ValueInfo) -> Self {
        let shape = info.ty.shape.iter().flatten().map(dim_text).collect();
        Self { name: info.name.clone(), dtype: format!("{:?}", info.ty.dtype).to_lowercase(), shape }
    }
}
