//! A student: the teacher's graph without some of its blocks, with weights of its own.

pub mod batchnorm;
pub mod boundary;
pub(crate) mod edit;
pub mod forward;
pub mod fused;
pub mod layer;
pub mod weights;

use std::collections::BTreeMap;

use super::CompressError;
use crate::exec::{Device, Params};
use crate::graph::patch::Patch;
use crate::graph::{Graph, Node};
use crate::network::Network;
use crate::network::blocks::Block;

/// A graph with its weights on a device.
pub struct Student {
    /// What is run.
    pub graph: Graph,
    /// Its weights.
    pub params: Params,
    /// Its values at the teacher's tap. They have other names than the teacher's where the block ahead of the tap is gone.
    pub taps: Vec<String>,
}

impl Student {
    /// The teacher itself.
    pub fn teacher(network: &Network, device: Device) -> Result<Self, CompressError> {
        Self::of(network.graph.clone(), network.tap.values.clone(), device)
    }

    /// The teacher without these blocks, its weights untouched.
    pub fn dropped(network: &Network, blocks: &[&Block], device: Device) -> Result<Self, CompressError> {
        let gone = replacements(blocks);
        let taps = network.tap.values.iter().map(|tap| gone.get(tap.as_str()).copied().unwrap_or(tap).to_owned());
        Self::of(drop_patch(blocks).apply(&network.graph)?, taps.collect(), device)
    }

    /// A graph with the weights that it has.
    pub fn of(graph: Graph, taps: Vec<String>, device: Device) -> Result<Self, CompressError> {
        let params = Params::from_graph(&graph, device)?;
        Ok(Self { graph, params, taps })
    }

    /// A copy that shares no weights.
    pub fn copy(&self) -> Result<Self, CompressError> {
        Ok(Self { graph: self.graph.clone(), params: self.params.deep_copy()?, taps: self.taps.clone() })
    }

    /// Puts `node`, which reads the first output of the node at `at`, behind it: whatever read that output, the tap
    /// included, reads the new node's output instead.
    pub fn insert_behind(&mut self, at: usize, node: Node) {
        let (from, to) = (self.graph.nodes[at].output().to_owned(), node.output().to_owned());
        let readers = self.graph.nodes[at + 1..].iter_mut().flat_map(|reader| &mut reader.inputs);
        let named = readers.chain(&mut self.taps).filter(|name| **name == from);
        named.for_each(|name| name.clone_from(&to));
        self.graph.nodes.insert(at + 1, node);
    }

    /// Takes the node away that writes `output` from `input`; whatever read the one reads the other.
    pub fn bypass(&mut self, input: &str, output: &str) {
        self.graph.nodes.retain(|node| node.output() != output);
        let readers = self.graph.nodes.iter_mut().flat_map(|node| &mut node.inputs);
        readers.chain(&mut self.taps).filter(|name| *name == output).for_each(|name| input.clone_into(name));
    }
}

/// The value of a student without `dropped` that goes on where `block`, one of them, stood; ahead of what changes nothing on
/// its shortcut.
pub fn stream_of<'b>(dropped: &[&'b Block], block: &'b Block) -> &'b str {
    replacements(dropped).get(block.entry.as_str()).copied().unwrap_or(&block.entry)
}

/// Replaces each block by its shortcut, in all of its places. Applies to the folded graph and to the file's own alike.
pub fn drop_patch(blocks: &[&Block]) -> Patch {
    let mut patch = Patch::default();
    for (exit, entry) in replacements(blocks) {
        patch.replace_value(exit, entry);
    }
    patch
}

/// What each dropped block's exit is replaced by: the end of its shortcut or, if that is itself the exit of a dropped block,
/// what stood ahead of the first of them.
fn replacements<'b>(blocks: &[&'b Block]) -> BTreeMap<&'b str, &'b str> {
    let places = blocks.iter().flat_map(|block| block.places());
    let ahead: BTreeMap<&str, &str> = places.map(|place| (place.exit.as_str(), place.past.as_str())).collect();
    let first = |mut past: &'b str| {
        while let Some(earlier) = ahead.get(past) {
            past = earlier;
        }
        past
    };
    ahead.iter().map(|(exit, past)| (*exit, first(past))).collect()
}
