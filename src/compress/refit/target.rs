//! Which layer is refitted, and towards which value of the teacher.

use std::collections::{BTreeMap, BTreeSet};

use crate::compress::stream::moves::Move;
use crate::compress::stream::path::Path;
use crate::compress::stream::writer::Written;
use crate::compress::student::edit::position;
use crate::compress::student::layer::{Layer, passes};
use crate::graph::{Attribute, Graph, Node};
use crate::network::blocks::Block;
use crate::network::blocks::shared::readers;

/// A layer of the student and the value of the teacher that it is fitted to.
///
/// The layer's output, through the path behind it and plus the shortcut where one is added, must match the teacher's `target`
/// after that is carried back through `moves`.
#[derive(Debug, Clone, PartialEq)]
pub struct RefitTarget {
    /// The layer.
    pub layer: Layer,
    /// The nodes between it and the addition.
    pub path: Path,
    /// The student's value that is added there.
    pub shortcut: Option<String>,
    /// What moves elements between the addition and the place of the target, in the order of computation.
    pub moves: Vec<Move>,
    /// The value of the teacher.
    pub target: String,
    /// What the activation behind the target lets through.
    pub range: Range,
    /// The same for the other places that use the layer's weights: one solution must serve all.
    pub also: Vec<RefitTarget>,
}

impl RefitTarget {
    /// Itself and the other places of the layer.
    pub(super) fn places(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.also)
    }

    /// Together with those of `others` that are about other places of its layer; `None` if there is none about some place, or one
    /// that is of another form.
    pub(super) fn in_all_places(mut self, graph: &Graph, others: &[Self]) -> Option<Self> {
        let places = readers(graph, self.layer.position(graph));
        for at in places {
            let output = graph.nodes[at].output();
            if output != self.layer.output && !self.also.iter().any(|known| known.layer.output == output) {
                let other = others.iter().find(|other| other.layer.output == output && other.is_like(&self, graph))?;
                self.also.push(other.clone());
            }
        }
        Some(self)
    }

    /// Whether a solution of one is written into the same tensors as a solution of the other.
    fn is_like(&self, other: &Self, graph: &Graph) -> bool {
        let weights = |problem: &Self| graph.nodes[problem.layer.position(graph)].inputs[1..].to_vec();
        weights(self) == weights(other)
            && self.layer.kind == other.layer.kind
            && self.path.constants(graph) == other.path.constants(graph)
            && self.path.excitation.is_some() == other.path.excitation.is_some()
    }

    /// True if a bias can be written: into the layer, or behind it.
    pub(super) fn takes_bias(&self) -> bool {
        self.layer.takes_bias() || self.path.takes_shift()
    }
}

/// The range in which an activation depends on its input: beyond it, all values are equivalent.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Range {
    /// Everything at or below it gives the same output.
    pub low: Option<f64>,
    /// Everything at or above it gives the same output.
    pub high: Option<f64>,
}

impl Range {
    /// No activation.
    pub fn is_all(&self) -> bool {
        self.low.is_none() && self.high.is_none()
    }
}

/// The last writer of the stream ahead of a run of dropped blocks, towards what the last of them put out.
///
/// `student` is the graph without the blocks; `first` and `last` are the ends of the run.
pub fn ahead_of_gap(student: &Graph, teacher: &Graph, first: &Block, last: &Block) -> Option<RefitTarget> {
    let written = Written::behind(student, &first.entry)?;
    let activated = last.exit != last.sum;
    // The student's own activation stands in for the dropped one only where both are there.
    let range = if activated { range_of(teacher, &last.exit) } else { Range::default() };
    Some(problem(written, &last.sum, range))
}

/// The convolutions that read the stream first behind a run of dropped blocks, each towards its own output in the teacher.
pub fn behind_gap(student: &Graph, first: &Block) -> Vec<RefitTarget> {
    let readers = stream_readers(student, &first.entry).into_iter().map(|at| &student.nodes[at]);
    let own_output = |layer: Layer| RefitTarget {
        target: layer.output.clone(),
        layer,
        path: Path::default(),
        shortcut: None,
        moves: Vec::new(),
        range: Range::default(),
        also: Vec::new(),
    };
    readers.filter_map(|conv| Layer::of(student, conv)).map(own_output).collect()
}

/// Convolutions that the stream reaches through additions, normalisations and activations.
fn stream_readers(graph: &Graph, stream: &str) -> BTreeSet<usize> {
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

/// The writer of a residual addition that student and teacher both have, towards the teacher's sum.
pub fn of_sum(student: &Graph, block: &Block) -> Option<RefitTarget> {
    let consumers = student.consumers();
    let behind = match consumers.get(block.sum.as_str()).map(Vec::as_slice) {
        Some([only]) => range_of_node(student, &student.nodes[*only]),
        _ => Range::default(),
    };
    let written = Written::behind(student, &block.sum)?;
    Some(problem(written, &block.sum, behind))
}

fn problem(written: Written, target: &str, range: Range) -> RefitTarget {
    RefitTarget {
        layer: written.layer,
        path: written.path,
        shortcut: written.shortcut.map(str::to_owned),
        moves: written.moves,
        target: target.to_owned(),
        range,
        also: Vec::new(),
    }
}

fn range_of(graph: &Graph, activated: &str) -> Range {
    position(graph, activated).map_or_else(Range::default, |at| range_of_node(graph, &graph.nodes[at]))
}

fn range_of_node(graph: &Graph, node: &Node) -> Range {
    let bound = |index: usize, attribute: &str| {
        let constant = node.input(index).and_then(|name| graph.initializers.get(name)).and_then(|data| data.to_f32());
        let given = constant.and_then(|values| values.first().copied());
        let named = || match node.attrs.get(attribute) {
            Some(Attribute::Float(value)) => Some(*value),
            _ => None,
        };
        given.or_else(named).map(f64::from)
    };
    match node.op.as_str() {
        "Relu" => Range { low: Some(0.0), high: None },
        "Clip" => Range { low: bound(1, "min"), high: bound(2, "max") },
        _ => Range::default(),
    }
}
