//! Simplifies a graph: folds constants and shape arithmetic, and infers the type of every value if possible.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::check;
use super::dim::Dim;
use super::error::GraphError;
use super::infer::{self, Effort, Inferred, InputShapes};
use super::model::{Graph, Node, ValueInfo, ValueType, Written};
use super::order;
use super::shape::fact::Known;
use super::tensor::TensorData;

/// Infers shapes and computes what depends on constants and shapes alone.
///
/// The result is sorted and has the same value names. `Constant` nodes and everything computable (weights behind
/// Identity, Cast or Transpose too) are initializers; nodes and initializers that nothing needs are gone; the target of
/// a Reshape that only had to follow a free batch is a constant; `values` has the inferred types. Fails with all that
/// contradicts itself, and where constants would grow far beyond the network's own size.
pub fn fold(graph: &Graph, inputs: &InputShapes) -> Result<Graph, GraphError> {
    check::structure(graph)?;
    let order = order::order(graph)?;
    let mut inferred = infer::infer(graph, &order, inputs, Effort::Everything);
    GraphError::check(std::mem::take(&mut inferred.problems))?;
    let mut result = Graph {
        name: graph.name.clone(),
        opsets: graph.opsets.clone(),
        inputs: graph.inputs.iter().map(|input| typed(input, &inferred)).collect(),
        outputs: graph.outputs.iter().map(|output| typed(output, &inferred)).collect(),
        ..Graph::default()
    };
    let (written, mut computed) = (graph.written(), BTreeSet::new());
    for node in order.iter().map(|i| &graph.nodes[*i]) {
        if outputs(node).all(|name| inferred.tensor(name).is_some()) {
            computed.extend(outputs(node));
        } else {
            result.nodes.push(fix_target(node, &inferred, &written, &mut result.initializers));
        }
    }
    keep_needed(&mut result);
    add_constants(&mut result, graph, &computed, &inferred);
    for name in result.nodes.iter().flat_map(outputs) {
        if let Some(ty) = value_type(name, graph.values.get(name), &inferred) {
            result.values.insert(name.to_owned(), ty);
        }
    }
    Ok(result)
}

fn outputs(node: &Node) -> impl Iterator<Item = &str> {
    node.outputs.iter().map(String::as_str).filter(|name| !name.is_empty())
}

fn typed(info: &ValueInfo, inferred: &Inferred) -> ValueInfo {
    let ty = value_type(&info.name, Some(&info.ty), inferred);
    ValueInfo { name: info.name.clone(), ty: ty.unwrap_or_else(|| info.ty.clone()) }
}

/// The inferred type, with the file's names for sizes of which inference knows nothing.
fn value_type(name: &str, declared: Option<&ValueType>, inferred: &Inferred) -> Option<ValueType> {
    let Some(mut ty) = inferred.fact(name).and_then(|fact| fact.value_type()) else { return declared.cloned() };
    let Some(declared) = declared.and_then(|declared| declared.shape.as_ref()) else { return Some(ty) };
    let shape = ty.shape.get_or_insert_with(|| declared.clone());
    for (size, declared) in shape.iter_mut().zip(declared) {
        if *size == Dim::Unknown && matches!(declared, Dim::Symbol(_)) {
            size.clone_from(declared);
        }
    }
    Some(ty)
}

/// A Reshape whose target follows free sizes gets a constant target where 0 (copy) and -1 (the rest) can express it.
fn fix_target(
    node: &Node,
    inferred: &Inferred,
    written: &Written,
    initializers: &mut indexmap::IndexMap<String, Arc<TensorData>>,
) -> Node {
    let mut node = node.clone();
    let target = node.input(1).and_then(|name| inferred.fact(name)).and_then(|fact| fact.known.as_ref());
    if node.is("Reshape")
        && matches!(target, Some(Known::Items(_)))
        && let Some(target) = constant_target(&node, inferred)
    {
        let name = written.free_name(&format!("{}_target", node.output()));
        initializers.insert(name.clone(), Arc::new(TensorData::from_i64(&[target.len()], &target)));
        node.inputs[1] = name;
    }
    node
}

fn constant_target(node: &Node, inferred: &Inferred) -> Option<Vec<i64>> {
    let shape = inferred.fact(node.output())?.shape.as_ref()?;
    let from = node.input(0).and_then(|name| inferred.fact(name)).and_then(|fact| fact.shape.as_ref());
    let copies = node.attrs.int("allowzero", 0) == 0;
    let mut target = Vec::with_capacity(shape.len());
    for (i, size) in shape.iter().enumerate() {
        target.push(match size {
            // A real 0 cannot be distinguished from a copy.
            Dim::Known(0) => return None,
            Dim::Known(size) => i64::try_from(*size).ok()?,
            Dim::Symbol(_) if copies && from.and_then(|from| from.get(i)) == Some(size) => 0,
            _ => -1,
        });
    }
    (target.iter().filter(|size| **size == -1).count() <= 1).then_some(target)
}

/// Drops the nodes that no output depends on. The nodes are sorted.
fn keep_needed(graph: &mut Graph) {
    let mut needed: BTreeSet<String> = graph.outputs.iter().map(|output| output.name.clone()).collect();
    let mut kept = Vec::with_capacity(graph.nodes.len());
    for node in std::mem::take(&mut graph.nodes).into_iter().rev() {
        if outputs(&node).any(|name| needed.contains(name)) {
            needed.extend(node.inputs.iter().cloned());
            kept.push(node);
        }
    }
    kept.reverse();
    graph.nodes = kept;
}

/// Initializers in the order of the file, then computed ones in the order of their readers, then new targets.
fn add_constants(result: &mut Graph, source: &Graph, computed: &BTreeSet<&str>, inferred: &Inferred) {
    let targets = std::mem::take(&mut result.initializers);
    let read: BTreeSet<&str> = (result.nodes.iter().flat_map(|node| &node.inputs).map(String::as_str))
        .chain(result.outputs.iter().map(|output| output.name.as_str()))
        .collect();
    let given = source.initializers.iter().filter(|(name, _)| read.contains(name.as_str()));
    let mut initializers: indexmap::IndexMap<String, Arc<TensorData>> =
        given.map(|(name, tensor)| (name.clone(), Arc::clone(tensor))).collect();
    let readers = result.nodes.iter().flat_map(|node| &node.inputs);
    for name in readers.chain(result.outputs.iter().map(|output| &output.name)) {
        if let Some(tensor) = inferred.tensor(name).filter(|_| computed.contains(name.as_str())) {
            initializers.entry(name.clone()).or_insert_with(|| Arc::clone(tensor));
        }
    }
    initializers.extend(targets.into_iter().filter(|(name, _)| read.contains(name.as_str())));
    result.initializers = initializers;
}
