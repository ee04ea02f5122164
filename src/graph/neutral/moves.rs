//! Nodes that only move elements, composed by sending the elements' numbers through them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Walk, rules};
use crate::graph::dim::Dim;
use crate::graph::infer::InputShapes;
use crate::graph::infer::{Effort, infer};
use crate::graph::model::{Graph, Node};
use crate::graph::order;
use crate::graph::shape::symbol;
use crate::graph::tensor::{DataType, TensorData};

/// Batches that a move is tried with. What depends on the batch shows in one of them, or in the inferred shape.
const BATCHES: [usize; 2] = [2, 3];

/// Nodes that decide where elements go, arithmetic on sizes included.
const MOST_NODES: usize = 256;

/// The inputs whose elements this node moves, constants among them left out; `None` if it does anything else.
pub(super) fn parts<'g>(graph: &Graph, node: &'g Node) -> Option<Vec<&'g str>> {
    let moved = match node.op.as_str() {
        "Transpose" | "Slice" | "Split" | "Gather" | "Expand" | "Tile" | "Pad" | "DepthToSpace" | "SpaceToDepth" => 1,
        "Concat" => node.inputs.len(),
        _ => return None,
    };
    let named = node.inputs[..moved.min(node.inputs.len())].iter().map(String::as_str);
    Some(named.filter(|name| !name.is_empty() && !graph.initializers.contains_key(*name)).collect())
}

/// True if the elements of the earlier value, of this shape, are back in their places in `to`.
pub(super) fn come_back(walk: &Walk, to: &str, shape: &[Dim]) -> bool {
    let free = shape.iter().find_map(|size| match size {
        Dim::Symbol(name) => Some(symbol::base(name)),
        _ => None,
    });
    let batches = if free.is_some() { &BATCHES[..] } else { &BATCHES[..1] };
    batches
        .iter()
        .all(|batch| Trial { walk, free: free.unwrap_or_default(), batch: *batch }.comes_back(to, shape).is_some())
}

/// One batch that a move is tried with.
struct Trial<'t, 'w, 'g> {
    walk: &'t Walk<'w, 'g>,
    /// The name of the batch.
    free: &'t str,
    batch: usize,
}

impl Trial<'_, '_, '_> {
    fn comes_back(&self, to: &str, shape: &[Dim]) -> Option<()> {
        let dims = self.sizes(shape)?;
        let count = dims.iter().try_fold(1usize, |all, size| all.checked_mul(*size))?;
        let mut plan = Plan { trial: self, graph: Graph::default(), values: BTreeMap::new(), seen: BTreeSet::new() };
        plan.add(to, true)?;
        self.walk.proofs.pay(count.checked_mul(plan.graph.nodes.len())?).then_some(())?;
        // From 1 on: what is padded with zeros is none of them.
        let numbers: Vec<i64> = (1..=count as i64).collect();
        let numbers = Arc::new(TensorData::from_i64(&dims, &numbers));
        let mut graph = plan.graph;
        graph.opsets = self.walk.proofs.graph.opsets.clone();
        graph.initializers.extend(plan.values);
        graph.initializers.insert(self.walk.from.to_owned(), Arc::clone(&numbers));
        let order = order::order(&graph).ok()?;
        let found = infer(&graph, &order, &InputShapes::new(), Effort::Everything);
        (found.problems.is_empty() && found.tensor(to).is_some_and(|moved| *moved == numbers)).then_some(())
    }

    fn sizes(&self, shape: &[Dim]) -> Option<Vec<usize>> {
        shape.iter().map(|size| symbol::at(size, self.free, self.batch)).collect()
    }
}

/// The nodes of a trial, on whole numbers.
struct Plan<'p, 't, 'w, 'g> {
    trial: &'p Trial<'t, 'w, 'g>,
    graph: Graph,
    values: BTreeMap<String, Arc<TensorData>>,
    seen: BTreeSet<&'g str>,
}

impl<'g> Plan<'_, '_, '_, 'g> {
    /// A value with everything that it is computed from: elements that move, or what tells them where to.
    fn add(&mut self, value: &str, moves: bool) -> Option<()> {
        let proofs = self.trial.walk.proofs;
        let carried = self.trial.walk.carried(value).is_some();
        // Where elements go must not depend on them: their numbers would tell nothing.
        if carried && !moves {
            return None;
        }
        if value.is_empty() || value == self.trial.walk.from {
            return Some(());
        }
        if let Some(tensor) = proofs.graph.initializers.get(value) {
            self.values.insert(value.to_owned(), Arc::clone(tensor));
            return Some(());
        }
        let node = proofs.producer(value)?;
        if !self.seen.insert(node.output()) {
            return Some(());
        }
        if self.seen.len() > MOST_NODES {
            return None;
        }
        if carried { self.add_moving(node, value) } else { self.add_size(node) }
    }

    fn add_moving(&mut self, node: &'g Node, value: &str) -> Option<()> {
        let walk = self.trial.walk;
        if let Some((input, _)) = rules::element_by_element(walk, node, value) {
            let inputs = vec![node.inputs[input].clone()];
            self.graph.nodes.push(Node {
                op: "Identity".into(),
                inputs,
                outputs: vec![value.into()],
                ..Node::default()
            });
            return self.add(&node.inputs[input], true);
        }
        let mut node = node.clone();
        match node.op.as_str() {
            "Concat" => self.outside(node.inputs.iter_mut()),
            "Pad" => self.outside(node.inputs.iter_mut().skip(2).take(1)),
            _ => {}
        }
        let (inputs, parts) = (node.inputs.clone(), if node.is("Concat") { node.inputs.len() } else { 1 });
        self.graph.nodes.push(node);
        for (at, name) in inputs.iter().enumerate() {
            if !self.values.contains_key(name) {
                self.add(name, at < parts)?;
            }
        }
        Some(())
    }

    /// Constants among the parts, or around them, are none of the elements.
    fn outside<'n>(&mut self, names: impl Iterator<Item = &'n mut String>) {
        for name in names.filter(|name| !name.is_empty()) {
            let Some(tensor) = self.trial.walk.proofs.graph.initializers.get(name.as_str()) else { continue };
            name.push_str("/outside");
            let none = TensorData::from_i64(&tensor.dims, &vec![-1; tensor.len()]);
            self.values.insert(name.clone(), Arc::new(none));
        }
    }

    /// What is computed from sizes alone.
    fn add_size(&mut self, node: &'g Node) -> Option<()> {
        let proofs = self.trial.walk.proofs;
        if node.is("Shape") || node.is("Size") {
            // By the shapes that inference has found; which part of it is taken is left to the node.
            let dims = self.trial.sizes(&proofs.graph.shape(node.input(0)?)?)?;
            let name = format!("{}/shaped", node.output());
            let stand_in = TensorData { dtype: DataType::Other(0), dims, bytes: Vec::new() };
            self.values.insert(name.clone(), Arc::new(stand_in));
            self.graph.nodes.push(Node { inputs: vec![name], ..node.clone() });
            return Some(());
        }
        self.graph.nodes.push(node.clone());
        node.inputs.iter().try_for_each(|name| self.add(name, false))
    }
}
