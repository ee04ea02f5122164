//! Proofs that a value is the same as an earlier one: what exporters leave on a shortcut and what changes nothing there.
//!
//! A proof walks back from the later value to the earlier one. Every node on the way has to be the identity on each element
//! ([`rules`]: a pool of 1 × 1, a product with ones, a bound that never binds) or move elements without changing them. Moves
//! are composed as what they are, permutations: the elements are numbered, the numbers are sent through the same nodes, and have
//! to come back in order ([`moves`]). What is not proven counts as changed.

mod moves;
mod range;
mod rules;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};

use super::dim::Dim;
use super::model::{Graph, Node};
use super::tensor::DataType;

/// A folded graph with its nodes in topological order, about whose values proofs are asked for.
pub struct Proofs<'g> {
    graph: &'g Graph,
    producers: BTreeMap<&'g str, usize>,
    /// What is left of [`MOST_WORK`].
    left: Cell<usize>,
}

/// Nodes that a walk goes back over, at most: a shortcut has a few.
const MOST_NODES: usize = 64;

/// Elements that may be numbered, over all proofs of a graph. Beyond it, nothing more is proven.
const MOST_WORK: usize = 1 << 27;

/// What a walk knows of a value: the elements of the earlier one, each times `factor`.
#[derive(Clone, Copy, PartialEq)]
struct Carried {
    /// A power of two, or minus one: products with others are rounded.
    factor: f64,
    /// The elements lie in memory as those of the earlier value do.
    in_order: bool,
}

/// A walk from one value back to an earlier one.
struct Walk<'p, 'g> {
    proofs: &'p Proofs<'g>,
    from: &'p str,
    known: RefCell<HashMap<&'g str, Option<Carried>>>,
}

impl<'g> Proofs<'g> {
    /// About the values of this graph.
    pub fn new(graph: &'g Graph) -> Self {
        Self { graph, producers: graph.producers(), left: Cell::new(MOST_WORK) }
    }

    /// True if `to` is proven to have the shape, the element type and every element of `from`, for every batch.
    pub fn unchanged(&self, from: &str, to: &str) -> bool {
        if from == to {
            return true;
        }
        let (Some(shape), Some(dtype)) = (self.sized(from), self.dtype(from)) else { return false };
        if !dtype.is_float() || self.dtype(to) != Some(dtype) || self.sized(to).as_ref() != Some(&shape) {
            return false;
        }
        let walk = self.walk(from);
        match walk.carried(to) {
            Some(Carried { factor: 1.0, in_order: true }) => true,
            Some(Carried { factor: 1.0, in_order: false }) => moves::come_back(&walk, to, &shape),
            _ => false,
        }
    }

    /// True if `to` has the elements of `from`, in whatever places and however often.
    pub fn carries(&self, from: &str, to: &str) -> bool {
        self.walk(from).carried(to).is_some()
    }

    fn walk<'p>(&'p self, from: &'p str) -> Walk<'p, 'g> {
        Walk { proofs: self, from, known: RefCell::default() }
    }

    fn producer(&self, value: &str) -> Option<&'g Node> {
        self.producers.get(value).map(|at| &self.graph.nodes[*at])
    }

    /// The shape of a value of which every size is known or has a name.
    fn sized(&self, value: &str) -> Option<Vec<Dim>> {
        self.graph.shape(value).filter(|shape| !shape.contains(&Dim::Unknown))
    }

    fn dtype(&self, value: &str) -> Option<DataType> {
        let of_input = || self.graph.inputs.iter().find(|input| input.name == value).map(|input| input.ty.dtype);
        self.graph.values.get(value).map(|ty| ty.dtype).or_else(of_input)
    }

    /// True if both values have one shape, in which every size is known or has a name.
    fn same_shape(&self, a: &str, b: &str) -> bool {
        self.sized(a).is_some_and(|shape| self.sized(b).as_ref() == Some(&shape))
    }

    /// Takes from what may be looked at; false if nothing is left.
    fn pay(&self, work: usize) -> bool {
        self.left.set(self.left.get().saturating_sub(work));
        self.left.get() > 0
    }
}

impl<'g> Walk<'_, 'g> {
    /// What is known of a value; `None` if it is not proven to come from the earlier one alone.
    fn carried(&self, value: &str) -> Option<Carried> {
        if value == self.from {
            return Some(Carried { factor: 1.0, in_order: true });
        }
        let node = self.proofs.producer(value)?;
        let name = node.outputs.iter().find(|output| *output == value)?.as_str();
        if let Some(known) = self.known.borrow().get(name) {
            return *known;
        }
        if self.known.borrow().len() >= MOST_NODES {
            return None;
        }
        // Entered ahead of its inputs, so that the depth of the walk is bounded too.
        self.known.borrow_mut().insert(name, None);
        let carried = self.through(node, name);
        self.known.borrow_mut().insert(name, carried);
        carried
    }

    fn through(&self, node: &'g Node, output: &str) -> Option<Carried> {
        if !node.is_onnx() {
            return None;
        }
        if let Some((input, factor)) = rules::element_by_element(self, node, output) {
            let before = self.carried(node.input(input)?)?;
            let factor = before.factor * factor;
            // What is scaled far up or down could overflow.
            let safe = (2f64.powi(-24)..=2f64.powi(24)).contains(&factor.abs());
            return safe.then_some(Carried { factor, ..before });
        }
        if rules::keeps_order(self.proofs, node) {
            return self.carried(node.input(0)?);
        }
        let mut parts = moves::parts(self.proofs.graph, node)?.into_iter().map(|part| self.carried(part));
        let first = parts.next()??;
        let alike = |part: Option<Carried>| part.is_some_and(|part| part.factor == first.factor);
        parts.all(alike).then_some(Carried { in_order: false, ..first })
    }
}
