//! An uploaded network: the file, the folded graph, its inputs, outputs, blocks and tap. The job calls it the teacher.

pub mod analyse;
pub mod blocks;
pub mod dominators;
mod elements;
mod error;
pub mod input;
pub mod macs;
mod obstacles;
pub mod outputs;
pub mod tap;

use self::blocks::{Block, shared};
use self::dominators::Dominators;
use self::input::bind::bind;
use self::input::side_inputs::{self, SideInput};
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

pub use self::elements::elements;
pub(crate) use self::error::fault_of_node;
pub use self::error::{NetworkError, Origin};

/// A loaded teacher.
pub struct Network {
    /// The uploaded file in inference form; exports are edits of it.
    pub model: onnx::Model,
    /// The graph that is run: shapes inferred, constants folded, batch dynamic, nodes sorted.
    pub graph: Graph,
    /// The image input.
    pub input: ImageInput,
    /// The other inputs of the file; in `graph` they are nodes.
    pub companions: Vec<SideInput>,
    /// Outputs that depend on the image input.
    pub outputs: Vec<ValueInfo>,
    /// The floating-point values, (N, …), that represent them: the outputs themselves, or the scores of labels and masks
    /// ([`outputs`](mod@outputs)). Agreement and top-1 are measured on the first.
    pub answers: Vec<ValueInfo>,
    /// Height and width that the graph was folded with.
    pub size: (usize, usize),
    /// Where the features are captured.
    pub tap: Tap,
    /// Residual additions in graph order.
    pub blocks: Vec<Block>,
}

impl Network {
    /// Decodes, folds and checks a file. If its height or width is dynamic, a size is used that it can run with.
    pub fn load(bytes: &[u8]) -> Result<Self, NetworkError> {
        Self::load_with(bytes, &Given::new())
    }

    /// The same with a job's values for its inputs.
    pub fn load_with(bytes: &[u8], given: &Given) -> Result<Self, NetworkError> {
        Self::loaded(bytes, given, |_| Ok(None))
    }

    /// Decodes, folds and checks a file. `size` returns the images' height and width for an input; `given` has the values of
    /// the other inputs. All unsupported operators are reported at once.
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

    /// Index of a block in graph order.
    pub fn depth(&self, block: &Block) -> Option<usize> {
        self.blocks.iter().position(|other| other.name == block.name)
    }

    /// Droppable blocks, in graph order; an error with the reasons if there is none.
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

    /// The names of [`Self::answers`] in a student's graph, or in an edited file's: a value can have another name once the
    /// block ahead of it is dropped.
    pub fn answers_in(&self, graph: &Graph) -> Vec<String> {
        Judge::new(graph).all(&self.outputs).into_iter().map(str::to_owned).collect()
    }

    /// The graph of an edited file in the form of [`Self::graph`]: batch dynamic, one input, folded.
    pub fn prepare(&self, file: &Graph) -> Result<Graph, NetworkError> {
        prepared(&as_deployed(file.clone()), &self.input, &self.companions, self.size)
    }

    /// Elements of the floating-point weights as stored in the file; values of inputs do not count.
    fn parameters(&self) -> usize {
        shared::stored(&self.model.graph, &self.graph)
            - self.companions.iter().map(|companion| companion.floats_in(&self.graph, self.size)).sum::<usize>()
    }

    /// The description that customers get.
    pub fn analysis(&self) -> Analysis {
        let declared = &self.model.graph;
        Analysis {
            inputs: declared.inputs.iter().map(Interface::of).collect(),
            outputs: declared.outputs.iter().map(Interface::of).collect(),
            opset: declared.opset(),
            image_input: self.input.file_name.clone(),
            image_layout: self.input.layout,
            image_channels: Some(self.input.channels),
            other_inputs: self.companions.iter().map(SideInput::info).collect(),
            parameters: self.parameters() as u64,
            macs: macs::of_graph(&self.graph),
            feature_tap: format!("{}: {}", self.tap.values.join(", "), self.tap.reason),
            blocks: self.blocks.iter().map(Block::info).collect(),
            alternatives: Vec::new(),
        }
    }
}

/// Outputs that depend on the image input.
fn outputs(graph: &Graph, tree: &Dominators) -> Result<Vec<ValueInfo>, NetworkError> {
    let changed = graph.outputs.iter().filter(|output| tree.is_changed_by_images(&output.name));
    let outputs: Vec<ValueInfo> = changed.cloned().collect();
    if outputs.is_empty() {
        return Err(NetworkError::ModelInterface("no output of the network depends on the images".into()));
    }
    Ok(outputs)
}

/// The batch dimension of a value with one row per image.
fn batch() -> Dim {
    Dim::Symbol("N".into())
}

/// A file's graph in inference form: known branches inlined, and no training behaviour.
fn as_deployed(mut file: Graph) -> Graph {
    inline_branches(&mut file);
    to_inference(&mut file);
    file
}

/// Makes the batch dynamic, replaces the other inputs by nodes, and folds.
fn prepared(
    file: &Graph,
    input: &ImageInput,
    companions: &[SideInput],
    size: (usize, usize),
) -> Result<Graph, NetworkError> {
    let free = free_batch(file);
    let mut shapes = shapes(input, size);
    if let Some(batch) = pinned_batch(&free, input) {
        // Another error can be the only reason why the batch cannot be made dynamic.
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

/// The fixed batch that remains in a network.
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
