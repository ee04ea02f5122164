//! Which nodes to run, in which order, and how long each value lives.

use std::collections::{HashMap, HashSet};

use super::error::ExecError;
use super::kernel::{Kernel, Spec};
use super::ops;
use super::support::read_values;
use super::unsupported::Unsupported;
use crate::graph::{Graph, Node};

/// A list of steps over numbered values.
pub(super) struct Plan {
    pub steps: Vec<Step>,
    /// Names of the values fed, which are the values 0, 1, ….
    pub fed: Vec<String>,
    /// Where the wanted values are.
    pub wanted: Vec<Source>,
    /// How many values there are.
    pub values: usize,
}

/// One node of the plan.
pub(super) struct Step {
    pub node: String,
    pub op: String,
    pub kernel: Kernel,
    pub inputs: Vec<Option<Source>>,
    /// Numbers of the values written; `None` where nothing reads them.
    pub outputs: Vec<Option<usize>>,
    /// Values that nothing reads after this step.
    pub free: Vec<usize>,
    /// Index of an input that may be overwritten.
    pub reuse: Option<usize>,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// Fed, or written by a step.
    Value(usize),
    /// An initializer.
    Param(String),
}

impl Plan {
    pub(super) fn new(graph: &Graph, from: &[&str], to: &[&str]) -> Result<Self, ExecError> {
        check_names(graph, from, to)?;
        let needed = needed_nodes(graph, from, to)?;
        let mut builder = Builder::new(graph, from);
        let (mut steps, mut refused) = (Vec::new(), Vec::new());
        let mut read = read_values(graph);
        read.extend(to);
        for node in needed {
            let spec = Spec::new(graph, node, &read);
            match ops::build(&spec) {
                Ok(kernel) => steps.push(builder.step(node, kernel)?),
                Err(refusal) => refused.push(Unsupported::new(&spec, refusal)),
            }
        }
        if !refused.is_empty() {
            return Err(ExecError::Unsupported(refused));
        }
        let wanted = to.iter().map(|name| builder.source(name, "the caller")).collect::<Result<Vec<_>, _>>()?;
        let fed = from.iter().map(|name| (*name).to_owned()).collect();
        let mut plan = Self { steps, fed, wanted, values: builder.numbers.len() };
        plan.set_lifetimes();
        Ok(plan)
    }

    /// Marks where each value is read last, and which inputs may be overwritten.
    fn set_lifetimes(&mut self) {
        let kept: HashSet<usize> = self.wanted.iter().filter_map(Source::number).collect();
        let mut fresh = HashSet::new();
        let mut uses = vec![0usize; self.values];
        for step in &self.steps {
            step.read_values().for_each(|value| uses[value] += 1);
            step.outputs.iter().flatten().filter(|_| ops::makes_new_tensor(&step.op)).for_each(|value| {
                fresh.insert(*value);
            });
        }
        let own = |value: &usize| uses[*value] == 1 && fresh.contains(value) && !kept.contains(value);
        let mut seen: HashSet<usize> = kept.clone();
        for step in self.steps.iter_mut().rev() {
            let numbers: Vec<usize> = step.read_values().chain(step.outputs.iter().flatten().copied()).collect();
            step.free = numbers.into_iter().filter(|value| seen.insert(*value)).collect();
            let candidates = 0..ops::overwritable_inputs(&step.op).min(step.inputs.len());
            step.reuse = candidates
                .into_iter()
                .find(|index| step.inputs[*index].as_ref().and_then(Source::number).as_ref().is_some_and(own));
        }
    }
}

impl Step {
    fn read_values(&self) -> impl Iterator<Item = usize> {
        self.inputs.iter().flatten().filter_map(Source::number)
    }
}

impl Source {
    fn number(&self) -> Option<usize> {
        match self {
            Self::Value(number) => Some(*number),
            Self::Param(_) => None,
        }
    }
}

/// Numbers the values as the nodes write them.
struct Builder<'a> {
    graph: &'a Graph,
    numbers: HashMap<&'a str, usize>,
}

impl<'a> Builder<'a> {
    fn new(graph: &'a Graph, from: &[&'a str]) -> Self {
        Self { graph, numbers: from.iter().enumerate().map(|(number, name)| (*name, number)).collect() }
    }

    fn step(&mut self, node: &'a Node, kernel: Kernel) -> Result<Step, ExecError> {
        let source = |name: &String| match name.as_str() {
            "" => Ok(None),
            name => self.source(name, node.label()).map(Some),
        };
        let inputs = node.inputs.iter().map(source).collect::<Result<_, _>>()?;
        let outputs = node.outputs.iter().map(|name| self.number(name)).collect();
        Ok(Step {
            node: node.label().to_owned(),
            op: node.op.clone(),
            kernel,
            inputs,
            outputs,
            free: Vec::new(),
            reuse: None,
        })
    }

    /// A number for a value that a node writes; none if it is unnamed or fed by the caller instead.
    fn number(&mut self, name: &'a str) -> Option<usize> {
        if name.is_empty() || self.numbers.contains_key(name) {
            return None;
        }
        let number = self.numbers.len();
        self.numbers.insert(name, number);
        Some(number)
    }

    fn source(&self, name: &str, reader: &str) -> Result<Source, ExecError> {
        match self.numbers.get(name) {
            Some(number) => Ok(Source::Value(*number)),
            None if self.graph.initializers.contains_key(name) => Ok(Source::Param(name.to_owned())),
            None => Err(ExecError::Order { node: reader.to_owned(), value: name.to_owned() }),
        }
    }
}

fn check_names(graph: &Graph, from: &[&str], to: &[&str]) -> Result<(), ExecError> {
    let inputs = graph.inputs.iter().map(|input| input.name.as_str());
    let written = graph.nodes.iter().flat_map(|node| &node.outputs).map(String::as_str);
    let known: HashSet<&str> = inputs.chain(written).chain(graph.initializers.keys().map(String::as_str)).collect();
    match from.iter().chain(to).find(|name| name.is_empty() || !known.contains(**name)) {
        Some(name) => Err(ExecError::UnknownValue { value: (*name).to_owned() }),
        None => Ok(()),
    }
}

/// The nodes between the values fed and the values wanted, in the graph's order.
fn needed_nodes<'a>(graph: &'a Graph, from: &[&str], to: &[&str]) -> Result<Vec<&'a Node>, ExecError> {
    let producers = graph.producers();
    let fed: HashSet<&str> = from.iter().copied().collect();
    let mut needed = vec![false; graph.nodes.len()];
    let mut open: Vec<(&str, &str)> = to.iter().map(|name| (*name, "the caller")).collect();
    while let Some((value, reader)) = open.pop() {
        if fed.contains(value) || graph.initializers.contains_key(value) {
            continue;
        }
        let Some(&index) = producers.get(value) else {
            return Err(ExecError::NotFed { value: value.to_owned(), needed_by: reader.to_owned() });
        };
        if !std::mem::replace(&mut needed[index], true) {
            let node = &graph.nodes[index];
            open.extend(node.inputs.iter().filter(|name| !name.is_empty()).map(|name| (name.as_str(), node.label())));
        }
    }
    Ok(graph.nodes.iter().zip(needed).filter_map(|(node, needed)| needed.then_some(node)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{DataType, ValueInfo, ValueType};

    #[test]
    fn a_value_lives_until_its_last_reader_and_only_its_only_reader_may_overwrite_it() {
        // x → Conv → c; c → Relu → r; r + x → s; s → Relu → y. And c is read once, x twice, r by an Add.
        let plan = Plan::new(&graph(), &["x"], &["y"]).unwrap();
        let [conv, relu, add, last] = plan.steps.as_slice() else { panic!("four steps") };
        let number = |step: &Step| step.outputs[0].unwrap();
        assert!(conv.free.is_empty());
        assert_eq!(relu.free, [number(conv)]);
        assert_eq!(add.free, [number(relu), 0]);
        assert_eq!(last.free, [number(add)]);
        assert_eq!([conv.reuse, relu.reuse, add.reuse, last.reuse], [None, Some(0), None, Some(0)]);
    }

    #[test]
    fn a_tap_is_kept_and_never_overwritten() {
        let plan = Plan::new(&graph(), &["x"], &["c", "y"]).unwrap();
        let conv = plan.steps[0].outputs[0].unwrap();
        assert!(plan.steps.iter().all(|step| !step.free.contains(&conv)));
        assert_eq!(plan.steps[1].reuse, None);
    }

    #[test]
    fn a_plan_can_be_shared_between_threads_and_weights_can_move_to_one() {
        fn shared<T: Send + Sync>() {}
        fn moved<T: Send>() {}
        shared::<super::super::Executor>();
        moved::<super::super::Params>();
    }

    #[test]
    fn an_optional_output_that_nobody_computes_cannot_be_tapped() {
        let mut graph = graph();
        graph.nodes.push(node("Dropout", &["y"], &["d", "mask"]));
        assert!(Plan::new(&graph, &["x"], &["d"]).is_ok());
        let error = Plan::new(&graph, &["x"], &["mask"]).err().unwrap().to_string();
        assert!(error.contains("\"mask\" is read"), "{error}");
    }

    fn graph() -> Graph {
        let weight = crate::graph::TensorData::from_f32(&[2, 2, 1, 1], &[0.0; 4]);
        let info =
            |name: &str| ValueInfo { name: name.to_owned(), ty: ValueType { dtype: DataType::Float32, shape: None } };
        Graph {
            opsets: [(String::new(), 17)].into(),
            inputs: vec![info("x")],
            outputs: vec![info("y")],
            nodes: vec![
                node("Conv", &["x", "w"], &["c"]),
                node("Relu", &["c"], &["r"]),
                node("Add", &["r", "x"], &["s"]),
                node("Relu", &["s"], &["y"]),
            ],
            initializers: [("w".to_owned(), weight.into())].into_iter().collect(),
            ..Graph::default()
        }
    }

    fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> Node {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Node { op: op.to_owned(), inputs: owned(inputs), outputs: owned(outputs), ..Node::default() }
    }
}
