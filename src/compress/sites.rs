//! Where adapters can stand and merge exactly (method §3, paper figure 4).
//!
//! On the graph with the block dropped, the stream is the value that stood ahead of the block. Post-adapters follow the
//! ungrouped convolutions that write it, pre-adapters go ahead of the ungrouped convolutions that read it.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::{Graph, Node};

use super::layer::{mixes_channels, passes};

/// A place for an adapter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    /// First output of the convolution.
    pub conv: String,
    /// On which side of it.
    pub side: Side,
    /// Channels of the adapter: it is a (channels, channels, 1, 1) convolution.
    pub channels: usize,
}

/// On which side of a convolution an adapter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// Ahead of a reader.
    Pre,
    /// Behind a writer.
    Post,
}

/// Sites around `stream` in a graph whose block is already dropped, in graph order.
pub fn find(graph: &Graph, stream: &str) -> Vec<Site> {
    let writers = writers(graph, stream);
    let readers = readers(graph, stream);
    let mut sites: Vec<(usize, Site)> = Vec::new();
    sites.extend(writers.into_iter().filter_map(|conv| Some((conv, site(graph, conv, Side::Post)?))));
    sites.extend(readers.into_iter().filter_map(|conv| Some((conv, site(graph, conv, Side::Pre)?))));
    sites.sort();
    sites.into_iter().map(|(_, site)| site).collect()
}

fn site(graph: &Graph, conv: usize, side: Side) -> Option<Site> {
    let node = &graph.nodes[conv];
    if !mixes_channels(graph, node) {
        return None;
    }
    let weight = graph.initializers.get(node.input(1)?)?;
    let channels = if side == Side::Post { weight.dims[0] } else { weight.dims[1] };
    Some(Site { conv: node.output().to_owned(), side, channels })
}

/// Convolutions whose output reaches the stream through additions, normalisations and activations.
fn writers(graph: &Graph, stream: &str) -> BTreeSet<usize> {
    let producers = graph.producers();
    let mut found = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut open = vec![stream];
    while let Some(value) = open.pop() {
        let Some(&index) = producers.get(value) else { continue };
        if !seen.insert(index) {
            continue;
        }
        let node = &graph.nodes[index];
        match node.op.as_str() {
            "Conv" => {
                found.insert(index);
            }
            "Add" | "Sum" => open.extend(node.inputs.iter().map(String::as_str)),
            _ if passes(node) => open.push(&node.inputs[0]),
            _ => {}
        }
    }
    found
}

/// Convolutions that the stream reaches through additions, normalisations and activations.
fn readers(graph: &Graph, stream: &str) -> BTreeSet<usize> {
    let consumers = graph.consumers();
    let mut found = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut open = vec![stream];
    while let Some(value) = open.pop() {
        for &index in consumers.get(value).map(Vec::as_slice).unwrap_or_default() {
            let node = &graph.nodes[index];
            if !seen.insert(index) || node.inputs[0] != value && !["Add", "Sum"].contains(&node.op.as_str()) {
                continue;
            }
            match node.op.as_str() {
                "Conv" => {
                    found.insert(index);
                }
                "Add" | "Sum" => open.push(node.output()),
                _ if passes(node) => open.push(node.output()),
                // Padding only ever precedes a convolution that reads the padded map.
                "Pad" => open.extend(conv_reader(graph, &consumers, node)),
                _ => {}
            }
        }
    }
    found
}

/// The padded value where a convolution reads it; a padded shortcut (more channels) ends the stream.
fn conv_reader<'g>(graph: &'g Graph, consumers: &BTreeMap<&str, Vec<usize>>, pad: &'g Node) -> Option<&'g str> {
    let readers = consumers.get(pad.output()).map(Vec::as_slice).unwrap_or_default();
    readers.iter().all(|reader| graph.nodes[*reader].is("Conv")).then(|| pad.output())
}
