//! Which convolution is refitted, and towards which value of the teacher.

use crate::compress::block::Block;
use crate::compress::edit::position;
use crate::compress::sites::{self, Side};
use crate::graph::{Attribute, Graph, Node};

/// A convolution of the student and the value of the teacher that it is fitted to.
///
/// The convolution's output, after its BatchNormalization where it has one and plus the shortcut where one is added, is to
/// meet the teacher's `target`.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// First output of the convolution: ungrouped, (N, C, H, W).
    pub conv: String,
    /// First output of the BatchNormalization right behind it, where there is one.
    pub norm: Option<String>,
    /// The student's value that is added to it.
    pub shortcut: Option<String>,
    /// The value of the teacher.
    pub target: String,
    /// What the activation behind the target lets through.
    pub range: Range,
}

/// What an activation lets through: beyond it, one value is as good as any other.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Range {
    /// Everything at or below comes out alike.
    pub low: Option<f64>,
    /// Everything at or above comes out alike.
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
pub fn ahead_of_gap(student: &Graph, teacher: &Graph, first: &Block, last: &Block) -> Option<Problem> {
    let written = Written::behind(student, &first.entry)?;
    let activated = last.exit != last.sum;
    // The student's own activation stands in for the dropped one only where both are there.
    let range = if activated { range_of(teacher, &last.exit) } else { Range::default() };
    Some(Problem { target: last.sum.clone(), range, ..written.problem() })
}

/// The convolutions that read the stream first behind a run of dropped blocks, each towards its own output in the teacher.
pub fn behind_gap(student: &Graph, first: &Block) -> Vec<Problem> {
    let readers = sites::find(student, &first.entry).into_iter().filter(|site| site.side == Side::Pre);
    let own_output = |site: sites::Site| Problem {
        target: site.conv.clone(),
        conv: site.conv,
        norm: None,
        shortcut: None,
        range: Range::default(),
    };
    readers.map(own_output).collect()
}

/// The writer of a residual addition that student and teacher both have, towards the teacher's sum.
pub fn of_sum(student: &Graph, block: &Block) -> Option<Problem> {
    let consumers = student.consumers();
    let behind = match consumers.get(block.sum.as_str()).map(Vec::as_slice) {
        Some([only]) => range_of_node(student, &student.nodes[*only]),
        _ => Range::default(),
    };
    let written = Written::behind(student, &block.sum)?;
    Some(Problem { target: block.sum.clone(), range: behind, ..written.problem() })
}

/// A convolution with what stands between it and the stream.
struct Written<'g> {
    conv: &'g Node,
    norm: Option<&'g Node>,
    shortcut: Option<&'g str>,
}

impl<'g> Written<'g> {
    /// The convolution that wrote the stream last: behind it at most a BatchNormalization, an addition and an activation.
    fn behind(graph: &'g Graph, stream: &'g str) -> Option<Self> {
        let mut value = stream;
        loop {
            let node = &graph.nodes[position(graph, value)?];
            match node.op.as_str() {
                "Relu" | "Clip" | "Identity" | "Dropout" => value = node.inputs.first()?,
                "Add" => return Self::of_addition(graph, node),
                _ => return Self::ending_in(graph, value, None),
            }
        }
    }

    /// Of two convolutions that meet, the one over more inputs: the branch's, not the projection's.
    fn of_addition(graph: &'g Graph, add: &'g Node) -> Option<Self> {
        let [a, b] = add.inputs.as_slice() else { return None };
        let ends = [(a, b), (b, a)].into_iter().filter_map(|(end, other)| Self::ending_in(graph, end, Some(other)));
        ends.max_by_key(|written| written.inputs(graph))
    }

    fn ending_in(graph: &'g Graph, value: &str, shortcut: Option<&'g str>) -> Option<Self> {
        let last = &graph.nodes[position(graph, value)?];
        let (conv, norm) = match last.op.as_str() {
            "BatchNormalization" => (&graph.nodes[position(graph, last.inputs.first()?)?], Some(last)),
            _ => (last, None),
        };
        let read_once = |node: &Node| {
            let readers = graph.nodes.iter().flat_map(|node| &node.inputs).filter(|input| *input == node.output());
            readers.count() == 1 && !graph.is_output(node.output())
        };
        // With other readers in between, a change here would change more than the stream.
        let alone = (norm.is_none() || read_once(conv)) && (shortcut.is_none() || read_once(last));
        let written = Self { conv, norm, shortcut };
        (alone && sites::mixes_channels(graph, conv)).then_some(written)
    }

    fn inputs(&self, graph: &Graph) -> usize {
        let weight = self.conv.input(1).and_then(|weight| graph.initializers.get(weight));
        weight.map_or(0, |weight| weight.dims[1..].iter().product())
    }

    /// The problem but for its target.
    fn problem(&self) -> Problem {
        Problem {
            conv: self.conv.output().to_owned(),
            norm: self.norm.map(|norm| norm.output().to_owned()),
            shortcut: self.shortcut.map(str::to_owned),
            target: String::new(),
            range: Range::default(),
        }
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
