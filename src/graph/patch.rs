//! Edits to a graph, collected first and applied at once, after which the graph is checked.
//!
//! A patch made while looking at a folded graph applies to the file's own graph as well, since value names agree: a
//! weight that is an initializer of the folded graph may be an initializer, a `Constant` node or the `Transpose` of
//! something there.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::check;
use super::error::{GraphError, GraphFault};
use super::infer::InputShapes;
use super::infer::{self, Effort, Inferred};
use super::model::Attribute;
use super::model::{Graph, Node};
use super::order;
use super::tensor::TensorData;

/// Edits in the order in which they are applied.
#[derive(Debug, Clone, Default)]
pub struct Patch {
    edits: Vec<Edit>,
}

#[derive(Debug, Clone)]
enum Edit {
    ReplaceValue { from: String, to: String },
    SetTensor { value: String, data: Arc<TensorData> },
    SetInput { output: String, index: usize, value: String },
    AddInitializer { name: String, data: Arc<TensorData> },
    InsertAfter { value: String, node: Node },
    AddNode { node: Node },
    RemoveNode { output: String },
}

impl Patch {
    /// No edits yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// True without edits.
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// All readers of `from` read `to`. Where `from` is an output of the graph its name stays, written by an Identity.
    pub fn replace_value(&mut self, from: &str, to: &str) -> &mut Self {
        self.edit(Edit::ReplaceValue { from: from.to_owned(), to: to.to_owned() })
    }

    /// Gives a constant value other elements, however the file holds it. Constants that the file computes from it keep
    /// the elements they had.
    pub fn set_tensor(&mut self, value: &str, data: impl Into<Arc<TensorData>>) -> &mut Self {
        self.edit(Edit::SetTensor { value: value.to_owned(), data: data.into() })
    }

    /// The node that writes `output` reads `value` as its `index`-th input, which may be one more than it had (a Conv
    /// gains a bias).
    pub fn set_input(&mut self, output: &str, index: usize, value: &str) -> &mut Self {
        self.edit(Edit::SetInput { output: output.to_owned(), index, value: value.to_owned() })
    }

    /// A new constant. See [`Graph::free_name`].
    pub fn add_initializer(&mut self, name: &str, data: impl Into<Arc<TensorData>>) -> &mut Self {
        self.edit(Edit::AddInitializer { name: name.to_owned(), data: data.into() })
    }

    /// `node`, which reads `value`, comes between `value` and all who read it so far; they read its first output.
    /// Where `value` is an output of the graph its name stays, and the one before the node gets another name.
    pub fn insert_node_after(&mut self, value: &str, node: Node) -> &mut Self {
        self.edit(Edit::InsertAfter { value: value.to_owned(), node })
    }

    /// A new node; its place follows from what it reads and who reads it.
    pub fn add_node(&mut self, node: Node) -> &mut Self {
        self.edit(Edit::AddNode { node })
    }

    /// The node that writes `output` goes. Nodes that nothing needs any more go by themselves.
    pub fn remove_node(&mut self, output: &str) -> &mut Self {
        self.edit(Edit::RemoveNode { output: output.to_owned() })
    }

    fn edit(&mut self, edit: Edit) -> &mut Self {
        self.edits.push(edit);
        self
    }

    /// The edited graph: sorted, without the nodes and initializers that these edits left unneeded, and checked. What
    /// was unneeded before stays, as do graph inputs.
    pub fn apply(&self, graph: &Graph) -> Result<Graph, GraphError> {
        let mut bench = Bench { graph: graph.clone(), inferred: None, origin: graph };
        let problems: Vec<GraphFault> = self.edits.iter().filter_map(|edit| bench.apply(edit).err()).collect();
        GraphError::check(problems)?;
        let mut edited = bench.graph;
        order::sort(&mut edited)?;
        sweep(&mut edited, graph);
        check::check(&edited)?;
        Ok(edited)
    }
}

/// The graph on which the edits are made.
struct Bench<'a> {
    graph: Graph,
    origin: &'a Graph,
    /// Constants of the graph before the edits; inferred when first asked for.
    inferred: Option<Inferred>,
}

impl Bench<'_> {
    fn apply(&mut self, edit: &Edit) -> Result<(), GraphFault> {
        match edit {
            Edit::ReplaceValue { from, to } => self.replace_value(from, to),
            Edit::SetTensor { value, data } => self.set_tensor(value, data),
            Edit::SetInput { output, index, value } => self.set_input(output, *index, value),
            Edit::AddInitializer { name, data } => self.add_initializer(name, data),
            Edit::InsertAfter { value, node } => self.insert_after(value, node),
            Edit::AddNode { node } => {
                self.graph.nodes.push(node.clone());
                Ok(())
            }
            Edit::RemoveNode { output } => {
                let at = self.producer(output)?;
                self.graph.nodes.remove(at);
                Ok(())
            }
        }
    }

    fn producer(&self, value: &str) -> Result<usize, GraphFault> {
        let writes = |node: &Node| node.outputs.iter().any(|output| output == value);
        self.graph.nodes.iter().position(writes).ok_or_else(|| problem(value, "is not written by any node"))
    }

    fn replace_value(&mut self, from: &str, to: &str) -> Result<(), GraphFault> {
        if from == to {
            return Ok(());
        }
        let readers = self.graph.nodes.iter_mut().flat_map(|node| &mut node.inputs);
        readers.filter(|input| *input == from).for_each(|input| to.clone_into(input));
        if !self.graph.is_output(from) {
            return Ok(());
        }
        self.unwrite(from)?;
        let node =
            Node { op: "Identity".into(), inputs: vec![to.into()], outputs: vec![from.into()], ..Node::default() };
        self.graph.nodes.push(node);
        Ok(())
    }

    /// Frees a name whose value nothing reads any more.
    fn unwrite(&mut self, value: &str) -> Result<(), GraphFault> {
        if self.graph.initializers.shift_remove(value).is_some() {
            return Ok(());
        }
        let at = self.producer(value)?;
        if self.graph.nodes[at].outputs.len() == 1 {
            self.graph.nodes.remove(at);
        } else {
            self.rename(at, value);
        }
        Ok(())
    }

    /// Gives the value another name, which is returned; its readers are left as they are.
    fn rename(&mut self, producer: usize, value: &str) -> String {
        let name = self.graph.free_name(&format!("{value}_before"));
        let outputs = self.graph.nodes[producer].outputs.iter_mut();
        outputs.filter(|output| *output == value).for_each(|output| output.clone_from(&name));
        name
    }

    fn set_tensor(&mut self, value: &str, data: &Arc<TensorData>) -> Result<(), GraphFault> {
        self.keep_derived(value);
        if let Some(old) = self.graph.initializers.get_mut(value) {
            *old = Arc::clone(data);
            return Ok(());
        }
        let at = self.producer(value)?;
        if self.graph.nodes[at].is("Constant") {
            let attrs = &mut self.graph.nodes[at].attrs;
            attrs.0.retain(|name, _| !name.starts_with("value") && !name.starts_with("sparse_value"));
            attrs.set("value", Attribute::Tensor(Arc::clone(data)));
            return Ok(());
        }
        if let Some(narrow) = self.graph.stored_in_16_bits(value).and_then(|(_, dtype)| data.narrowed(dtype)) {
            return self.set_stored(at, narrow);
        }
        if !self.is_constant(&self.graph.nodes[at].clone()) {
            return Err(problem(value, "depends on the network's input and cannot be set"));
        }
        self.materialise(at);
        self.graph.initializers.insert(value.to_owned(), Arc::clone(data));
        Ok(())
    }

    /// Gives the `Cast` at this place another tensor to widen; other nodes that read the one it had keep that.
    fn set_stored(&mut self, at: usize, narrow: TensorData) -> Result<(), GraphFault> {
        let source = self.graph.nodes[at].inputs[0].clone();
        let readers = self.graph.nodes.iter().flat_map(|node| &node.inputs).filter(|input| **input == source).count();
        if readers == 1 && !self.graph.is_output(&source) {
            self.graph.initializers.insert(source, Arc::new(narrow));
            return Ok(());
        }
        let fresh = self.graph.free_name(&format!("{source}/{}", self.graph.nodes[at].output()));
        self.graph.initializers.insert(fresh.clone(), Arc::new(narrow));
        self.graph.nodes[at].inputs[0] = fresh;
        Ok(())
    }

    /// Constants computed from `value` become initializers before it changes.
    fn keep_derived(&mut self, value: &str) {
        while let Some(at) = self.constant_reader(value) {
            self.materialise(at);
        }
    }

    fn constant_reader(&mut self, value: &str) -> Option<usize> {
        let readers: Vec<usize> = (0..self.graph.nodes.len())
            .filter(|i| self.graph.nodes[*i].inputs.iter().any(|input| input == value))
            .collect();
        readers.into_iter().find(|i| self.is_constant(&self.graph.nodes[*i].clone()))
    }

    fn is_constant(&mut self, node: &Node) -> bool {
        let inferred = self.inferred();
        node.outputs.iter().filter(|name| !name.is_empty()).all(|name| inferred.tensor(name).is_some())
    }

    /// Replaces a node whose outputs are constants by initializers.
    fn materialise(&mut self, at: usize) {
        let node = self.graph.nodes.remove(at);
        for name in node.outputs.iter().filter(|name| !name.is_empty()) {
            if let Some(tensor) = self.inferred().tensor(name).cloned() {
                self.graph.initializers.insert(name.clone(), tensor);
            }
        }
    }

    fn inferred(&mut self) -> &Inferred {
        let origin = self.origin;
        self.inferred.get_or_insert_with(|| {
            let order = order::order(origin).unwrap_or_default();
            infer::infer(origin, &order, &InputShapes::new(), Effort::Everything)
        })
    }

    fn set_input(&mut self, output: &str, index: usize, value: &str) -> Result<(), GraphFault> {
        let at = self.producer(output)?;
        let inputs = &mut self.graph.nodes[at].inputs;
        // No operator takes more; a wrong index must not allocate.
        if index > inputs.len() + 8 {
            return Err(problem(output, &format!("has no input {index}")));
        }
        if inputs.len() <= index {
            inputs.resize(index + 1, String::new());
        }
        value.clone_into(&mut inputs[index]);
        Ok(())
    }

    fn add_initializer(&mut self, name: &str, data: &Arc<TensorData>) -> Result<(), GraphFault> {
        match self.graph.initializers.insert(name.to_owned(), Arc::clone(data)) {
            Some(_) => Err(problem(name, "is an initializer already")),
            None => Ok(()),
        }
    }

    fn insert_after(&mut self, value: &str, node: &Node) -> Result<(), GraphFault> {
        let mut node = node.clone();
        if !node.inputs.iter().any(|input| input == value) {
            return Err(problem(
                value,
                &format!("is not read by {} `{}`, which is to follow it", node.op, node.label()),
            ));
        }
        let Some(output) = node.outputs.first().cloned() else {
            return Err(problem(value, "is followed by a node without output"));
        };
        let before = match self.graph.is_output(value) {
            true => {
                let at = self.producer(value)?;
                self.rename(at, value)
            }
            false => value.to_owned(),
        };
        let readers = self.graph.nodes.iter_mut().flat_map(|node| &mut node.inputs);
        readers.filter(|input| *input == value).for_each(|input| input.clone_from(&output));
        node.inputs.iter_mut().filter(|input| *input == value).for_each(|input| input.clone_from(&before));
        self.graph.nodes.push(node);
        if before != value {
            let inputs = vec![output];
            self.graph.nodes.push(Node {
                op: "Identity".into(),
                inputs,
                outputs: vec![value.into()],
                ..Node::default()
            });
        }
        Ok(())
    }
}

fn problem(value: &str, detail: &str) -> GraphFault {
    GraphFault::of(value, detail, "the edit does not fit this network")
}

/// Removes the nodes and initializers that nothing needs, unless nothing needed them in `origin` either.
fn sweep(graph: &mut Graph, origin: &Graph) {
    let useless: BTreeSet<String> = {
        let needed = needed(origin);
        let nodes = origin.nodes.iter().filter(|node| !is_needed(node, &needed));
        let unread = origin.initializers.keys().filter(|name| !needed.contains(name.as_str())).cloned();
        nodes.flat_map(|node| node.outputs.iter().cloned()).chain(unread).collect()
    };
    let required: BTreeSet<String> = needed(graph).into_iter().map(str::to_owned).collect();
    let mut written: BTreeSet<String> =
        graph.inputs.iter().map(|input| input.name.clone()).chain(graph.initializers.keys().cloned()).collect();
    graph.nodes.retain(|node| {
        let stays = node.outputs.iter().any(|name| required.contains(name))
            || node.outputs.iter().any(|name| useless.contains(name))
                && node.inputs.iter().all(|name| name.is_empty() || written.contains(name));
        if stays {
            written.extend(node.outputs.iter().cloned());
        }
        stays
    });
    let read: BTreeSet<&str> = graph.nodes.iter().flat_map(|node| &node.inputs).map(String::as_str).collect();
    let outputs: BTreeSet<&str> = graph.outputs.iter().map(|output| output.name.as_str()).collect();
    graph
        .initializers
        .retain(|name, _| read.contains(name.as_str()) || outputs.contains(name.as_str()) || useless.contains(name));
    graph.values.retain(|name, _| written.contains(name));
}

/// Names of all values that some output depends on.
fn needed(graph: &Graph) -> BTreeSet<&str> {
    let producers = graph.producers();
    let mut open: Vec<&str> = graph.outputs.iter().map(|output| output.name.as_str()).collect();
    let mut needed = BTreeSet::new();
    while let Some(value) = open.pop() {
        if needed.insert(value)
            && let Some(producer) = producers.get(value)
        {
            open.extend(graph.nodes[*producer].inputs.iter().map(String::as_str));
        }
    }
    needed
}

fn is_needed(node: &Node, needed: &BTreeSet<&str>) -> bool {
    node.outputs.iter().any(|name| needed.contains(name.as_str()))
}
