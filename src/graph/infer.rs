//! Walks a graph once: shape inference and the evaluation of constants, interleaved because each needs the other.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::dim::{Dim, Shape};
use super::error::{EXPORT_AGAIN, GraphFault, MOST_PROBLEMS};
use super::model::{Graph, Node, ValueType};
use super::shape::context::{Context, Trouble, show, too_many_dims};
use super::shape::dims::may_equal;
use super::shape::fact::{Fact, Item, Known, MOST_ITEMS};
use super::shape::{MOST_DIMS, ops};
use super::tensor::{DataType, TensorData};
use super::value;

/// Shapes for graph inputs by name, in place of the declared ones: sizes that a file leaves free.
pub type InputShapes = BTreeMap<String, Shape>;

/// What a walk found.
pub(crate) struct Inferred {
    facts: HashMap<String, Fact>,
    /// Everything that contradicts itself, in node order.
    pub problems: Vec<GraphFault>,
}

/// How large a constant a walk computes.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Effort {
    /// Only what shapes depend on; larger constants stay unknown.
    Shapes,
    /// All that the nodes ask for, within a budget that grows with the network's own constants.
    Everything,
}

impl Inferred {
    pub fn fact(&self, value: &str) -> Option<&Fact> {
        self.facts.get(value)
    }

    /// The constant that a value is.
    pub fn tensor(&self, value: &str) -> Option<&Arc<TensorData>> {
        self.fact(value).and_then(Fact::tensor)
    }
}

/// Walks the nodes in `order`.
pub(crate) fn infer(graph: &Graph, order: &[usize], inputs: &InputShapes, effort: Effort) -> Inferred {
    let mut walk = Walk::new(graph, inputs, effort);
    order.iter().for_each(|i| walk.visit(&graph.nodes[*i]));
    walk.finish()
}

/// What constants cost.
#[derive(Clone, Copy, Default)]
struct Cost {
    /// Bytes of the computed ones.
    bytes: usize,
    /// Elements read and written on the way: the same large constant may be summed up by every node.
    elements: usize,
}

impl Cost {
    /// What may be computed: reshaping, transposing and casting every weight must fit, a made-up tensor of a hundred gigabytes
    /// must not.
    fn most(graph: &Graph) -> Self {
        const ROOM: usize = 64 << 20;
        let in_nodes = graph.nodes.iter().filter_map(|node| node.attrs.tensor("value"));
        let given: usize = graph.initializers.values().chain(in_nodes).map(|tensor| tensor.bytes.len()).sum();
        Self {
            bytes: given.saturating_mul(4).saturating_add(ROOM),
            elements: given.saturating_mul(32).saturating_add(ROOM / 2),
        }
    }

    fn within(&self, budget: &Self) -> bool {
        self.bytes <= budget.bytes && self.elements <= budget.elements
    }
}

/// The largest constant that a shape can depend on.
const LARGEST_SHAPE: usize = 64 << 10;

/// A walk over a graph, node by node: what stands behind a node can still be changed by what was found ahead of it.
pub(crate) struct Walk<'a> {
    graph: &'a Graph,
    effort: Effort,
    budget: Cost,
    found: Inferred,
}

impl<'a> Walk<'a> {
    /// Knows the inputs and the constants.
    pub fn new(graph: &'a Graph, inputs: &InputShapes, effort: Effort) -> Self {
        let found = Inferred { facts: HashMap::new(), problems: Vec::new() };
        let mut walk = Self { graph, effort, budget: Cost::most(graph), found };
        walk.enter(inputs);
        walk
    }

    /// What has been found so far.
    pub fn inferred(&self) -> &Inferred {
        &self.found
    }

    pub fn finish(self) -> Inferred {
        self.found
    }

    /// A constant that the graph does not have.
    pub fn define(&mut self, name: &str, tensor: &Arc<TensorData>) {
        self.found.facts.insert(name.to_owned(), Fact::of_tensor(tensor));
    }

    fn enter(&mut self, shapes: &InputShapes) {
        for input in &self.graph.inputs {
            let mut fact = Fact::of_type(&input.ty);
            if let Some(shape) = shapes.get(&input.name) {
                self.refuse_misfit(&input.name, fact.shape.as_ref(), shape);
                fact.shape = Some(shape.clone());
            }
            if fact.shape.as_ref().is_some_and(|shape| shape.len() > MOST_DIMS) {
                self.note(GraphFault::of(&input.name, format!("has more than {MOST_DIMS} dimensions"), EXPORT_AGAIN));
                fact.shape = None;
            }
            self.found.facts.insert(input.name.clone(), fact);
        }
        for name in shapes.keys().filter(|name| !self.graph.inputs.iter().any(|input| input.name == **name)) {
            self.note(GraphFault::of(name, "has a given shape, but the network has no such input", "check the name"));
        }
        for (name, tensor) in &self.graph.initializers {
            self.define(name, tensor);
        }
    }

    fn refuse_misfit(&mut self, input: &str, own: Option<&Shape>, given: &Shape) {
        let fits = |own: &&Shape| own.len() == given.len() && own.iter().zip(given).all(|(a, b)| may_equal(a, b));
        if let Some(own) = own.filter(|own| !fits(own)) {
            let detail = format!("has shape {}, not {}", show(own), show(given));
            self.note(GraphFault::of(input, detail, "give the size that the network was exported for"));
        }
    }

    fn note(&mut self, problem: GraphFault) {
        if self.found.problems.len() < MOST_PROBLEMS {
            self.found.problems.push(problem);
        }
    }

    /// A node whose inputs have been visited.
    pub fn visit(&mut self, node: &Node) {
        if self.found.problems.len() >= MOST_PROBLEMS {
            return;
        }
        let inputs = node.inputs.iter().map(|name| if name.is_empty() { None } else { self.found.facts.get(name) });
        let context = Context::new(node, self.graph.opset(), inputs.collect());
        let (mut outputs, charged) = self.outputs(&context).unwrap_or_else(|trouble| {
            context.report(trouble);
            (Vec::new(), Cost::default())
        });
        for Trouble { detail, hint } in context.troubles.into_inner() {
            self.note(GraphFault::at(node, detail, hint));
        }
        self.budget.bytes -= charged.bytes;
        self.budget.elements -= charged.elements;
        outputs.resize_with(node.outputs.len(), Fact::default);
        for (name, fact) in node.outputs.iter().zip(outputs).filter(|(name, _)| !name.is_empty()) {
            self.found.facts.insert(name.clone(), fact);
        }
    }

    /// Facts about the outputs, and what the constants among them cost.
    fn outputs(&self, c: &Context) -> Result<(Vec<Fact>, Cost), Trouble> {
        let Some(infer) = ops::infer(&c.node.op).filter(|_| c.node.is_onnx()) else {
            return Ok((self.declared(c.node), Cost::default()));
        };
        let mut outputs = infer(c)?;
        if outputs.iter().any(|fact| fact.shape.as_ref().is_some_and(|shape| shape.len() > MOST_DIMS)) {
            return Err(too_many_dims());
        }
        let Some(evaluate) = value::evaluate(&c.node.op) else { return Ok((outputs, Cost::default())) };
        let Some(cost) = self.affordable(c, &outputs)? else { return Ok((outputs, Cost::default())) };
        let values = evaluate(c, &outputs)?;
        for (output, known) in outputs.iter_mut().zip(values) {
            known.into_iter().for_each(|known| settle(output, known));
        }
        Ok((outputs, cost))
    }

    /// What the file says about the outputs of an operator that is not in the table.
    fn declared(&self, node: &Node) -> Vec<Fact> {
        let sane = |ty: &&ValueType| ty.shape.as_ref().is_none_or(|shape| shape.len() <= MOST_DIMS);
        let declared = |name| self.graph.values.get(name).filter(sane).map(Fact::of_type).unwrap_or_default();
        node.outputs.iter().map(declared).collect()
    }

    /// What the outputs would cost as constants; `None` where they are not worth or not possible to compute.
    fn affordable(&self, c: &Context, outputs: &[Fact]) -> Result<Option<Cost>, Trouble> {
        let constant = c.inputs.iter().flatten().all(|fact| fact.tensor().is_some());
        // A constant under another name costs nothing.
        if constant && c.node.op == "Identity" {
            return Ok(Some(Cost::default()));
        }
        let (mut bytes, mut elements) = (0usize, 0usize);
        for output in outputs {
            let Some(dims) = output.dims() else { return Ok(None) };
            let size = if constant { output.dtype.and_then(DataType::size).unwrap_or(1) } else { size_of::<Item>() };
            elements = elements.saturating_add(span(&dims));
            bytes = bytes.saturating_add(span(&dims).saturating_mul(size));
        }
        // Shape and Size look at no element of their input, which may be as large as it likes.
        let of_shape = matches!(c.node.op.as_str(), "Shape" | "Size");
        let given = || c.inputs.iter().flatten().filter_map(|fact| fact.tensor());
        // An empty tensor may have huge sizes in addition to its zero.
        let hollow = given().any(|tensor| tensor.is_empty() && span(&tensor.dims) > MOST_ITEMS);
        let partial = !constant && elements > MOST_ITEMS;
        let beyond_shapes = self.effort == Effort::Shapes && bytes > LARGEST_SHAPE;
        if !of_shape && (hollow || partial || beyond_shapes) {
            return Ok(None);
        }
        let read = if of_shape { 0 } else { given().fold(0, |read: usize, tensor| read.saturating_add(tensor.len())) };
        // Each input is spread over the output.
        let written = elements.saturating_mul(c.inputs.len().max(1));
        let cost = Cost { bytes, elements: read.saturating_add(written) };
        match cost.within(&self.budget) {
            true => Ok(Some(cost)),
            false if !constant || self.effort == Effort::Shapes => Ok(None),
            false => Err(Trouble {
                detail: match bytes <= self.budget.bytes {
                    true => format!("computes with {} elements of constants", cost.elements),
                    false => format!("computes {bytes} bytes from constants alone"),
                },
                hint: "networks do not need that; export the network again without this node".to_owned(),
            }),
        }
    }
}

/// Product of the sizes, zeros left out.
fn span(dims: &[usize]) -> usize {
    dims.iter().filter(|size| **size > 0).fold(1, |product: usize, size| product.saturating_mul(*size))
}

fn settle(output: &mut Fact, known: Known) {
    let known = match known {
        Known::Items(items) => match output.dtype {
            Some(dtype) => items.into_known(dtype),
            None => Known::Items(items),
        },
        tensor => tensor,
    };
    let dims = match &known {
        Known::Tensor(tensor) => {
            output.dtype = Some(tensor.dtype);
            &tensor.dims
        }
        Known::Items(items) => &items.dims,
    };
    output.shape = Some(dims.iter().copied().map(Dim::Known).collect());
    output.known = Some(known);
}
