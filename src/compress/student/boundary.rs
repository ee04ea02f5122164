//! What teacher and student have in common ahead of the first difference.
//!
//! While adapters are fitted, everything ahead of the first one is the teacher's own and frozen. The teacher has computed
//! it a moment ago, so the student starts from the teacher's values there instead of computing them again.

use std::collections::BTreeSet;

use crate::graph::{Graph, Node};

/// The values that `graph` computes ahead of the node at `first` and reads from there on, towards `wanted`: with these
/// fed, nothing ahead of `first` has to run.
pub fn values_at(graph: &Graph, first: usize, wanted: &[String]) -> Vec<String> {
    let ahead: BTreeSet<&str> = graph.nodes[..first]
        .iter()
        .flat_map(|node| &node.outputs)
        .chain(graph.inputs.iter().map(|input| &input.name))
        .map(String::as_str)
        .collect();
    let behind = graph.nodes[first..].iter().flat_map(|node| &node.inputs).chain(wanted);
    let crossing: BTreeSet<&str> = behind.map(String::as_str).filter(|value| ahead.contains(value)).collect();
    crossing.into_iter().map(str::to_owned).collect()
}

/// Index of the student's first node that the teacher does not have as it is: one that reads another value or weight, or a
/// layer among `refitted` (by their first outputs). Ahead of it, the student is the teacher.
pub fn first_difference(teacher: &Graph, student: &Graph, refitted: &[String]) -> usize {
    let producers = teacher.producers();
    let differs = |node: &Node| {
        let same = producers.get(node.output()).is_some_and(|index| teacher.nodes[*index].inputs == node.inputs);
        !same || refitted.iter().any(|conv| conv == node.output())
    };
    student.nodes.iter().position(differs).unwrap_or(student.nodes.len())
}
