//! A student: the teacher's graph without some of its blocks, with weights of its own.

use std::collections::BTreeMap;

use crate::exec::{Device, Params};
use crate::graph::Graph;
use crate::graph::patch::Patch;

use super::CompressError;
use super::block::Block;
use super::network::Network;

/// A graph with its weights on a device.
pub struct Student {
    /// What is run.
    pub graph: Graph,
    /// Its weights.
    pub params: Params,
}

impl Student {
    /// The teacher itself.
    pub fn teacher(network: &Network, device: Device) -> Result<Self, CompressError> {
        Self::of(network.graph.clone(), device)
    }

    /// The teacher without these blocks, its weights untouched.
    pub fn dropped(network: &Network, blocks: &[&Block], device: Device) -> Result<Self, CompressError> {
        Self::of(drop_patch(blocks).apply(&network.graph)?, device)
    }

    /// A graph with the weights that it has.
    pub fn of(graph: Graph, device: Device) -> Result<Self, CompressError> {
        let params = Params::from_graph(&graph, device)?;
        Ok(Self { graph, params })
    }

    /// A copy that shares no weights.
    pub fn copy(&self) -> Result<Self, CompressError> {
        Ok(Self { graph: self.graph.clone(), params: self.params.deep_copy()? })
    }
}

/// Replaces each block by its shortcut. Applies to the folded graph and to the file's own alike.
///
/// Where one dropped block feeds the next, both are replaced by what stood ahead of the first.
pub fn drop_patch(blocks: &[&Block]) -> Patch {
    let ahead: BTreeMap<&str, &str> = blocks.iter().map(|block| (block.exit.as_str(), block.entry.as_str())).collect();
    let mut patch = Patch::default();
    for block in blocks {
        let mut entry = block.entry.as_str();
        while let Some(earlier) = ahead.get(entry) {
            entry = earlier;
        }
        patch.replace_value(&block.exit, entry);
    }
    patch
}
