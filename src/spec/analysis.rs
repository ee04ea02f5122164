//! What can be said about a network from the file alone.

use serde::{Deserialize, Serialize};

use super::inputs::{CompanionInfo, Given, Value};

/// A network, looked at but not run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// Inputs, (N, C, H, W) for images; a free size is written by its name, or `?`.
    pub inputs: Vec<Interface>,
    /// Outputs.
    pub outputs: Vec<Interface>,
    /// The input that takes the images; empty where a version of this service looked that knew one input only.
    #[serde(default)]
    pub image_input: String,
    /// Order of its dimensions.
    #[serde(default)]
    pub image_layout: Layout,
    /// Its channels; `None` where a version of this service looked that took them from its sizes.
    #[serde(default)]
    pub image_channels: Option<usize>,
    /// The other inputs, and whether a job has to give values for them.
    #[serde(default)]
    pub other_inputs: Vec<CompanionInfo>,
    /// Version of ONNX's operator set.
    pub opset: i64,
    /// Elements of the floating-point weights.
    pub parameters: u64,
    /// Multiply-accumulates for one image.
    pub macs: u64,
    /// Where the features are captured.
    pub feature_tap: String,
    /// Every residual addition.
    pub blocks: Vec<BlockInfo>,
    /// The same network with the images given to each other input that takes some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<Analysis>,
}

impl Analysis {
    /// The network as it is when a job feeds its inputs this.
    pub fn fed(&self, given: &Given) -> &Self {
        let takes_images = |analysis: &&Self| matches!(given.get(&analysis.image_input), Some(Value::Word(_)));
        self.alternatives.iter().find(takes_images).unwrap_or(self)
    }
}

/// An input or output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// Element type.
    pub dtype: String,
    /// Sizes, outermost first.
    pub shape: Vec<String>,
}

/// A residual addition of the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockInfo {
    /// Name, as a customer knows it: the common prefix of the names in its branch.
    pub name: String,
    /// Kind of shortcut: `identity`, `projection` or `reshaped`.
    pub kind: String,
    /// Whether it can be dropped exactly.
    pub droppable: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Multiply-accumulates of the branch for one image.
    pub macs: u64,
    /// Parameters of the branch.
    pub parameters: u64,
    /// The other places in which the same weights stand, which go together with it; their multiply-accumulates are in `macs`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
}

impl BlockInfo {
    /// The names of the block in all of its places.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.name).chain(&self.also).map(String::as_str)
    }
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
