//! A teacher as the method sees it: the uploaded file, the folded graph, its blocks and its tap.

use crate::exec;
use crate::graph::batch::free_batch;
use crate::graph::fold::{InputShapes, fold};
use crate::graph::{DataType, Dim, Graph, to_inference};
use crate::images::ModelInput;
use crate::onnx;

use super::analyse::{Analysis, Interface, dim_text};
use super::block::{self, Block};
use super::tap::{self, Tap};
use super::{CompressError, macs};

/// Height and width that a network with free ones is looked at with when no image tells.
const NOMINAL_SIZE: (usize, usize) = (224, 224);

/// A loaded teacher.
pub struct Network {
    /// The file as uploaded, in the form that it is deployed in; exports are edits of it.
    pub model: onnx::Model,
    /// The graph that is run: shapes inferred, constants folded, batch free, nodes sorted.
    pub graph: Graph,
    /// The image input.
    pub input: ImageInput,
    /// Height and width that the graph was folded with.
    pub size: (usize, usize),
    /// Where the features are captured.
    pub tap: Tap,
    /// Residual additions in graph order.
    pub blocks: Vec<Block>,
}

/// The input that takes the images, (N, C, H, W).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInput {
    /// Name.
    pub name: String,
    /// Channels: 3 for RGB, 1 for grey.
    pub channels: usize,
    /// Height and width where the file fixes them.
    pub size: Option<(usize, usize)>,
    /// Batch where the file fixes it.
    pub batch: Option<usize>,
}

impl Network {
    /// Decodes, folds and checks a file; a network with a free height and width is looked at in a nominal size.
    pub fn load(bytes: &[u8]) -> Result<Self, CompressError> {
        Self::load_for(bytes, |input| Ok(input.size.unwrap_or(NOMINAL_SIZE)))
    }

    /// Decodes, folds and checks a file, for images whose height and width `size` tells once the input is known. Every
    /// operator that is not supported is reported at once.
    pub fn load_for(
        bytes: &[u8],
        size: impl FnOnce(&ImageInput) -> Result<(usize, usize), CompressError>,
    ) -> Result<Self, CompressError> {
        let mut model = onnx::decode(bytes)?;
        to_inference(&mut model.graph);
        let input = ImageInput::of(&model.graph)?;
        let size = size(&input)?;
        let graph = fold(&free_batch(&model.graph), &shapes(&input, size))?;
        let unsupported = exec::unsupported(&graph);
        if !unsupported.is_empty() {
            return Err(CompressError::Unsupported(unsupported));
        }
        let (tap, blocks) = (tap::find(&graph), block::find(&graph));
        Ok(Self { model, graph, input, size, tap, blocks })
    }

    /// The block with this name, or an error with the nearest name.
    pub fn block(&self, name: &str) -> Result<&Block, CompressError> {
        self.blocks.iter().find(|block| block.name == name).ok_or_else(|| CompressError::UnknownBlock {
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

    /// Shapes to fold this network's graph with, and every edit of it.
    pub fn input_shapes(&self) -> InputShapes {
        shapes(&self.input, self.size)
    }

    /// What is reported about the network.
    pub fn analysis(&self) -> Analysis {
        let declared = &self.model.graph;
        Analysis {
            inputs: declared.inputs.iter().map(Interface::of).collect(),
            outputs: declared.outputs.iter().map(Interface::of).collect(),
            opset: declared.opset(),
            parameters: self.graph.parameter_count() as u64,
            macs: macs::of_graph(&self.graph),
            feature_tap: format!("{}: {}", self.tap.values.join(", "), self.tap.reason),
            blocks: self.blocks.iter().map(Block::info).collect(),
        }
    }
}

fn shapes(input: &ImageInput, (height, width): (usize, usize)) -> InputShapes {
    let dims = vec![Dim::Symbol("N".into()), Dim::Known(input.channels), Dim::Known(height), Dim::Known(width)];
    InputShapes::from([(input.name.clone(), dims)])
}

impl ImageInput {
    /// The one input of a network, or why it takes no images.
    pub fn of(graph: &Graph) -> Result<Self, CompressError> {
        let refuse = |detail: String| Err(CompressError::ModelInterface(detail));
        let [input] = graph.inputs.as_slice() else {
            let names: Vec<&str> = graph.inputs.iter().map(|input| input.name.as_str()).collect();
            return refuse(format!(
                "the network has {} inputs ({}); networks with one image input are supported",
                names.len(),
                names.join(", ")
            ));
        };
        if input.ty.dtype != DataType::Float32 {
            return refuse(format!(
                "input \"{}\" is {:?}; export the network with a float32 input",
                input.name, input.ty.dtype
            ));
        }
        let shape = input.ty.shape.clone().unwrap_or_default();
        let [batch, channels, height, width] = shape.as_slice() else {
            return refuse(format!("input \"{}\" has {} dimensions; images are (N, C, H, W)", input.name, shape.len()));
        };
        let channels = match channels.known() {
            Some(channels @ (1 | 3)) => channels,
            other => {
                let found = other.map_or("a free number of".into(), |n| n.to_string());
                return refuse(format!(
                    "input \"{}\" has {found} channels; images have 1 (grey) or 3 (RGB), as (N, C, H, W)",
                    input.name
                ));
            }
        };
        let size = height.known().zip(width.known());
        Ok(Self { name: input.name.clone(), channels, size, batch: batch.known() })
    }

    /// What images have to come out as.
    pub fn wants(&self) -> ModelInput {
        ModelInput { channels: Some(self.channels), height: self.size.map(|s| s.0), width: self.size.map(|s| s.1) }
    }
}

impl Interface {
    fn of(info: &crate::graph::ValueInfo) -> Self {
        let shape = info.ty.shape.iter().flatten().map(dim_text).collect();
        Self { name: info.name.clone(), dtype: format!("{:?}", info.ty.dtype).to_lowercase(), shape }
    }
}
