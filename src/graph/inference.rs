//! Brings a network that was exported in training form into the form that it is deployed in.

use std::collections::HashSet;

use super::model::Attribute;
use super::model::{Graph, Node};

/// BatchNormalization by the statistics that it keeps, and Dropout that drops nothing: what a runtime otherwise computes from the
/// batch or at random. A node whose other outputs are read stays unchanged.
pub fn to_inference(graph: &mut Graph) {
    let in_nodes = graph.nodes.iter().flat_map(|node| &node.inputs);
    let read: HashSet<String> = in_nodes.chain(graph.outputs.iter().map(|output| &output.name)).cloned().collect();
    let unread = |node: &Node| node.outputs.iter().skip(1).all(|name| !read.contains(name));
    for node in graph.nodes.iter_mut().filter(|node| unread(node)) {
        match node.op.as_str() {
            "BatchNormalization" => {
                node.outputs.truncate(1);
                if node.attrs.int("training_mode", 0) != 0 {
                    node.attrs.set("training_mode", Attribute::Int(0));
                }
            }
            // The third input asks for training.
            "Dropout" => {
                node.outputs.truncate(1);
                node.inputs.truncate(2);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> Node {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Node { op: op.into(), inputs: names(inputs), outputs: names(outputs), ..Node::default() }
    }

    #[test]
    fn what_trains_computes_as_it_is_deployed() {
        let mut norm = node("BatchNormalization", &["x", "s", "b", "m", "v"], &["y", "mean", "variance"]);
        norm.attrs.set("training_mode", Attribute::Int(1));
        let mut graph = Graph {
            nodes: vec![norm, node("Dropout", &["y", "ratio", "training"], &["z", "mask"])],
            ..Graph::default()
        };
        to_inference(&mut graph);
        assert_eq!(graph.nodes[0].outputs, ["y"]);
        assert_eq!(graph.nodes[0].attrs.int("training_mode", 1), 0);
        assert_eq!(
            (&graph.nodes[1].inputs[..], &graph.nodes[1].outputs[..]),
            (&["y".into(), "ratio".into()][..], &["z".into()][..])
        );
    }

    #[test]
    fn statistics_that_something_reads_stay() {
        let norm = node("BatchNormalization", &["x", "s", "b", "m", "v"], &["y", "mean", "variance"]);
        let mut graph = Graph { nodes: vec![norm.clone(), node("Identity", &["mean"], &["kept"])], ..Graph::default() };
        to_inference(&mut graph);
        assert_eq!(graph.nodes[0], norm);
    }
}
