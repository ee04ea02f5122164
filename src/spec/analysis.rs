//! Description of a network, from its file alone.

use serde::{Deserialize, Serialize};

use super::inputs::{Given, SideInputInfo, Value};

/// An analysed network; it has not been run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// Inputs, (N, C, H, W) for images; a dynamic size is written as its name, or `?`.
    pub inputs: Vec<Interface>,
    /// Outputs.
    pub outputs: Vec<Interface>,
    /// Name of the input that takes the images; empty in results of versions that knew only one input.
    #[serde(default)]
    pub image_input: String,
    /// Order of its dimensions.
    #[serde(default)]
    pub image_layout: Layout,
    /// Its channels, 1 or 3; `None` in results of versions that read them from the sizes.
    #[serde(default)]
    pub image_channels: Option<usize>,
    /// The other inputs, and whether a job must give values for them.
    #[serde(default)]
    pub other_inputs: Vec<SideInputInfo>,
    /// Version of ONNX's operator set.
    pub opset: i64,
    /// Elements of the floating-point weights.
    pub parameters: u64,
    /// Multiply-accumulates for one image.
    pub macs: u64,
    /// The feature tap, in words.
    pub feature_tap: String,
    /// Every residual addition.
    pub blocks: Vec<BlockInfo>,
    /// The same network with the images fed to each other input that can take them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<Analysis>,
}

impl Analysis {
    /// The description for a job that feeds these values.
    pub fn fed(&self, given: &Given) -> &Self {
        let takes_images = |analysis: &&Self| matches!(given.get(&analysis.image_input), Some(Value::Word(_)));
        self.alternatives.iter().find(takes_images).unwrap_or(self)
    }
}

/// An input or output of the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Name in the file.
    pub name: String,
    /// Element type, such as `float32`.
    pub dtype: String,
    /// Sizes, outermost first; dynamic ones by name, or `?`.
    pub shape: Vec<String>,
}

/// A residual addition of the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockInfo {
    /// Name for customers: the common prefix of the names in its branch, such as `layer2.1`.
    pub name: String,
    /// Kind of shortcut: `identity`, `projection` or `reshaped`.
    pub kind: String,
    /// Whether it can be dropped exactly.
    pub droppable: bool,
    /// The reason if it cannot be dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Multiply-accumulates of the branch for one image.
    pub macs: u64,
    /// Elements of the branch's weights.
    pub parameters: u64,
    /// The other places that use the same weights and are dropped with it; `macs` includes them.
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
