//! Residual blocks, found on the graph (docs/method.md §1).
//!
//! Every addition of two values computed from one common value is a residual addition. It is droppable when one of the
//! two *is* that common value (the shortcut is the identity) or is proven to have its elements ([`Proofs`]), and nothing inside
//! the other (the branch) is read from outside. The names of architectures play no part.

pub mod names;
pub mod shared;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::dominators::{Dominators, data_inputs};
use super::macs;
use crate::graph::neutral::Proofs;
use crate::graph::{Graph, GraphError, GraphFault, Node};
use crate::spec::analysis::BlockInfo;

/// A residual addition of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Name for customers, such as `layer2.1`.
    pub name: String,
    /// What the shortcut is.
    pub shortcut: Shortcut,
    /// The value that both inputs of the addition come from.
    pub entry: String,
    /// The end of the shortcut, which is added to the branch: for an identity shortcut the entry itself, or that value behind
    /// nodes that change nothing. They stay if the block is dropped.
    pub past: String,
    /// What the rest of the network reads of this block: the sum, or the activation behind it if it repeats the one that
    /// computed the entry.
    pub exit: String,
    /// The value that the branch adds.
    pub branch: String,
    /// The sum.
    pub sum: String,
    /// First outputs of the nodes of the branch.
    pub region: Vec<String>,
    /// Why it cannot be dropped.
    pub reason: Option<NotDroppable>,
    /// Multiply-accumulates of the branch for one image.
    pub macs: u64,
    /// Elements of the branch's weights.
    pub parameters: u64,
    /// The other places that use the same weights: all are dropped, or none.
    pub also: Vec<Block>,
}

/// What carries the residual stream past the branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortcut {
    /// The same tensor.
    Identity,
    /// A convolution.
    Projection,
    /// Anything else that changes it: slicing, padding, pooling, a scale.
    Reshaped,
}

/// Why a block cannot be dropped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum NotDroppable {
    /// A convolution on the shortcut.
    #[error("projection shortcut: {from} → {to} (N, C, H, W)")]
    Projection { from: String, to: String },
    /// Something else on the shortcut: slicing, padding, pooling, BatchNormalization.
    #[error("the shortcut changes the tensor ({op}): {from} → {to} (N, C, H, W)")]
    Reshaped { op: String, from: String, to: String },
    /// Something inside the branch is read from outside.
    #[error("{value} inside the branch is also read by {reader}")]
    ReadFromOutside { value: String, reader: String },
    /// A value inside the branch is an output of the network.
    #[error("{value} inside the branch is an output of the network")]
    NetworkOutput { value: String },
    /// It shares its weights with a block that must stay.
    #[error("it shares its weights with {place}, which cannot be dropped: {why}")]
    Shared { place: String, why: String },
    /// All its weights are also read by another node.
    #[error("its weights are also read by {reader}, which is not in a block that could be dropped with it")]
    UsedElsewhere { reader: String },
}

impl Block {
    /// True if dropping is exact.
    pub fn droppable(&self) -> bool {
        self.reason.is_none()
    }

    /// Itself and the other places that use its weights.
    pub fn places(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.also)
    }

    /// As reported to customers.
    pub fn info(&self) -> BlockInfo {
        let kind = match self.shortcut {
            Shortcut::Identity => "identity",
            Shortcut::Projection => "projection",
            Shortcut::Reshaped => "reshaped",
        };
        BlockInfo {
            name: self.name.clone(),
            kind: kind.into(),
            droppable: self.droppable(),
            reason: self.reason.as_ref().map(ToString::to_string),
            macs: self.macs,
            parameters: self.parameters,
            also: self.also.iter().map(|place| place.name.clone()).collect(),
        }
    }
}

/// Maximum bytes of the names in all branches together, including what their nodes read. Branches are short and do not overlap;
/// in a malicious file, nested ones would grow with the square of their number.
const MOST_IN_BRANCHES: usize = 32 << 20;

/// Finds the residual additions of a folded, sorted graph with this tree, in graph order.
///
/// # Errors
/// If additions are nested in branches beyond what any network has.
pub fn find(graph: &Graph, tree: &Dominators) -> Result<Vec<Block>, GraphError> {
    let (consumers, proofs) = (graph.consumers(), Proofs::new(graph));
    let search = Search { graph, tree, consumers, proofs, left: Cell::new(MOST_IN_BRANCHES) };
    let mut blocks = Vec::new();
    for node in &graph.nodes {
        blocks.extend(search.residual_addition(node));
        if search.left.get() == 0 {
            let detail = "the branches of this addition and of earlier ones are nested too deeply";
            return Err(
                GraphFault::at(node, detail, "networks are not built like that; export the network again").into()
            );
        }
    }
    let producers = graph.producers();
    let module = |sum: &str| producers.get(sum).and_then(|add| names::module_of(&graph.nodes[*add]));
    names::prefer_modules(blocks.iter_mut().map(|block| (&mut block.name, module(&block.sum))).collect());
    names::make_unique(blocks.iter_mut().map(|block| &mut block.name));
    Ok(shared::join(graph, blocks))
}

/// Maximum number of dominators above the common value that are tried as entry.
const MOST_ABOVE: usize = 8;

/// The two ends of a shortcut, and what it is.
struct Ends<'g> {
    entry: &'g str,
    past: &'g str,
    shortcut: Shortcut,
}

/// A graph with its lookup tables, shared by all additions.
struct Search<'s, 'g> {
    graph: &'g Graph,
    tree: &'s Dominators<'g>,
    consumers: BTreeMap<&'g str, Vec<usize>>,
    proofs: Proofs<'g>,
    /// Remaining budget of [`MOST_IN_BRANCHES`].
    left: Cell<usize>,
}

impl<'g> Search<'_, 'g> {
    fn residual_addition(&self, add: &'g Node) -> Option<Block> {
        if !(add.is("Add") || add.is("Sum")) {
            return None;
        }
        let graph = self.graph;
        let inputs = data_inputs(graph, add);
        // A constant among them would be dropped with the branch.
        let ([left, right], 2) = (inputs.as_slice(), add.inputs.len()) else { return None };
        let (a, b) = (self.through_identities(left), self.through_identities(right));
        let shape = graph.shape(a)?;
        if a == b || graph.shape(b)? != shape || graph.shape(add.output())? != shape || shape.len() < 3 {
            return None;
        }
        let common = self.through_identities(self.tree.common_value(a, b)?);
        let Ends { entry, past, shortcut } = self.ends(common, a, b)?;
        // Including the identities at its end, which nothing else may read either.
        let branch = if past == a { right } else { left };
        let mut region = self.region(entry, branch);
        if shortcut == Shortcut::Identity && past != entry {
            // Nodes that the shortcut needs stay.
            region = &region - &self.region(entry, past);
            if region.is_empty() {
                return None;
            }
        }
        let reason = match shortcut {
            Shortcut::Identity => self.read_from_outside(&region, add),
            _ => Some(self.changed(shortcut, entry, past)),
        };
        Some(Block {
            name: names::of_region(graph, &region),
            shortcut,
            entry: entry.to_owned(),
            past: past.to_owned(),
            exit: self.exit(add, entry),
            branch: (*branch).to_owned(),
            sum: add.output().to_owned(),
            macs: macs::of_nodes(graph, region.iter().map(|node| &graph.nodes[*node])),
            parameters: parameters(graph, &region),
            region: region.iter().map(|node| graph.nodes[*node].output().to_owned()).collect(),
            reason,
            also: Vec::new(),
        })
    }

    /// Spends the budget; false if none is left.
    fn pay(&self, bytes: usize) -> bool {
        self.left.set(self.left.get().saturating_sub(bytes));
        self.left.get() > 0
    }

    fn pay_name(&self, name: &str) -> bool {
        self.pay(size_of::<String>() + name.len())
    }

    /// The value behind `Identity` and `Dropout`, which change nothing at inference.
    fn through_identities(&self, mut value: &'g str) -> &'g str {
        while let Some(node) = self.tree.producer(value).map(|index| &self.graph.nodes[index]) {
            let unchanged = node.is("Identity") || node.is("Dropout");
            if !unchanged || self.graph.initializers.contains_key(&node.inputs[0]) || !self.pay_name(value) {
                break;
            }
            value = &node.inputs[0];
        }
        value
    }

    /// The entry of an addition's two sides, and which of them is the shortcut.
    fn ends(&self, common: &'g str, a: &'g str, b: &'g str) -> Option<Ends<'g>> {
        let identity = |entry, past| Some(Ends { entry, past, shortcut: Shortcut::Identity });
        if [a, b].contains(&common) {
            let (past, branch) = if a == common { (a, b) } else { (b, a) };
            // A value added to itself is not a residual addition.
            return identity(common, past).filter(|_| !self.proofs.unchanged(common, branch));
        }
        let entries = std::iter::successors(Some(common), |below| {
            // The branch can also read a value between two moves that undo each other.
            self.tree.above(below).filter(|above| self.proofs.carries(above, below))
        });
        for entry in entries.take(MOST_ABOVE) {
            match [a, b].map(|side| self.proofs.unchanged(entry, side)) {
                [true, true] => return None,
                [true, false] => return identity(entry, a),
                [false, true] => return identity(entry, b),
                [false, false] => {}
            }
        }
        let past = self.shortcut(common, a, b)?;
        Some(Ends { entry: common, past, shortcut: self.side_kind(common, past) })
    }

    /// The shortcut of an addition whose two sides both change the entry: the side with less work.
    fn shortcut(&self, entry: &str, a: &'g str, b: &'g str) -> Option<&'g str> {
        let work = |value| {
            let region = self.region(entry, value);
            let convs = region.iter().filter(|node| self.graph.nodes[**node].is("Conv")).count();
            (convs, region.len())
        };
        let (work_a, work_b) = (work(a), work(b));
        // Two sides with as many convolutions each are two branches (an Inception-like sum), not a shortcut and a branch.
        match work_a.0.cmp(&work_b.0) {
            std::cmp::Ordering::Less => Some(a),
            std::cmp::Ordering::Greater => Some(b),
            std::cmp::Ordering::Equal => None,
        }
    }

    /// Nodes between the entry and `value`, `value`'s producer included, in topological order.
    fn region(&self, entry: &str, value: &str) -> BTreeSet<usize> {
        // The nodes are sorted: those ahead of the entry do not depend on it.
        let first = self.tree.producer(entry).unwrap_or(0);
        let mut nodes = BTreeSet::new();
        let mut open: Vec<&str> = vec![value];
        while let Some(value) = open.pop() {
            let behind = |index: &usize| value != entry && *index >= first;
            let Some(index) = self.tree.producer(value).filter(behind) else { continue };
            if nodes.insert(index) && self.pay_name(value) {
                // One node may read as much as all others together.
                let inputs = self.graph.nodes[index].inputs.iter().map(String::as_str);
                open.extend(inputs.take_while(|_| self.pay(size_of::<&str>())));
            }
        }
        only_behind(self.graph, entry, nodes)
    }

    fn side_kind(&self, entry: &str, shortcut: &str) -> Shortcut {
        let weighted = |node: &Node| ["Conv", "Gemm", "MatMul", "ConvTranspose"].contains(&node.op.as_str());
        if self.region(entry, shortcut).iter().any(|node| weighted(&self.graph.nodes[*node])) {
            Shortcut::Projection
        } else {
            Shortcut::Reshaped
        }
    }

    fn changed(&self, shortcut: Shortcut, entry: &str, value: &str) -> NotDroppable {
        let (from, to) = (shape_text(self.graph, entry), shape_text(self.graph, value));
        match shortcut {
            Shortcut::Projection => NotDroppable::Projection { from, to },
            _ => {
                let mut ops: Vec<&str> = Vec::new();
                for node in self.region(entry, value) {
                    let op = self.graph.nodes[node].op.as_str();
                    if !ops.contains(&op) && !["Shape", "Gather", "Concat", "Cast", "Constant"].contains(&op) {
                        ops.push(op);
                    }
                }
                NotDroppable::Reshaped { op: ops.join(", "), from, to }
            }
        }
    }

    fn read_from_outside(&self, region: &BTreeSet<usize>, add: &Node) -> Option<NotDroppable> {
        for index in region {
            for value in self.graph.nodes[*index].outputs.iter().filter(|value| !value.is_empty()) {
                if self.graph.is_output(value) {
                    return Some(NotDroppable::NetworkOutput { value: value.clone() });
                }
                let readers = self.consumers.get(value.as_str()).map(Vec::as_slice).unwrap_or_default();
                let outside =
                    readers.iter().find(|reader| !region.contains(reader) && self.graph.nodes[**reader] != *add);
                if let Some(reader) = outside {
                    let reader = self.graph.nodes[*reader].label().to_owned();
                    return Some(NotDroppable::ReadFromOutside { value: value.clone(), reader });
                }
            }
        }
        None
    }

    /// If the activation behind the addition repeats the one that computed the entry, it changes nothing without the branch
    /// (relu(relu(x)) = relu(x)), so it is dropped with the block.
    fn exit(&self, add: &Node, entry: &'g str) -> String {
        let sum = add.output();
        let [only] = self.consumers.get(sum).map(Vec::as_slice).unwrap_or_default() else { return sum.to_owned() };
        let behind = &self.graph.nodes[*only];
        let repeats = self.makers(entry).into_iter().any(|node| is_idempotent(node) && same_activation(node, behind));
        if repeats && !self.graph.is_output(sum) { behind.output().to_owned() } else { sum.to_owned() }
    }

    /// The node that computes a value, and the nodes ahead of it as long as those behind change nothing.
    fn makers(&self, value: &'g str) -> Vec<&'g Node> {
        let mut makers = Vec::new();
        let mut value = value;
        while let Some(at) = self.tree.producer(value).filter(|_| makers.len() < MOST_ABOVE) {
            let maker = &self.graph.nodes[at];
            makers.push(maker);
            match maker.input(0).filter(|from| self.proofs.unchanged(from, value)) {
                Some(from) => value = from,
                None => break,
            }
        }
        makers
    }
}

/// Shape arithmetic can reach back beyond the entry; nodes that do not depend on the entry are not part of the block.
fn only_behind(graph: &Graph, entry: &str, nodes: BTreeSet<usize>) -> BTreeSet<usize> {
    let mut values: HashSet<&str> = HashSet::from([entry]);
    let mut behind = BTreeSet::new();
    for index in nodes {
        let node = &graph.nodes[index];
        if node.inputs.iter().any(|input| values.contains(input.as_str())) {
            values.extend(node.outputs.iter().map(String::as_str));
            behind.insert(index);
        }
    }
    behind
}

fn shape_text(graph: &Graph, value: &str) -> String {
    let dims = graph.shape(value).unwrap_or_default();
    let dims: Vec<String> = dims.iter().map(crate::graph::dim::dim_text).collect();
    format!("({})", dims.join(", "))
}

fn is_idempotent(node: &Node) -> bool {
    node.is("Relu") || node.is("Clip")
}

fn same_activation(a: &Node, b: &Node) -> bool {
    a.op == b.op && a.domain == b.domain && a.attrs == b.attrs && a.inputs[1..] == b.inputs[1..]
}

fn parameters(graph: &Graph, region: &BTreeSet<usize>) -> u64 {
    let read = region.iter().flat_map(|node| &graph.nodes[*node].inputs);
    let names: BTreeSet<&String> = read.collect();
    let tensors = names.into_iter().filter_map(|name| graph.initializers.get(name));
    tensors.filter(|tensor| tensor.dtype.is_float()).map(|tensor| tensor.len() as u64).sum()
}
