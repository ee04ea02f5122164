//! Adapters in a graph: bias-free 1×1 convolutions that start as the identity (method §3).

use std::sync::Arc;

use crate::graph::{Attribute, Graph, Node, TensorData};

use super::sites::{Side, Site};

/// An adapter that stands in a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adapter {
    /// Where it stands.
    pub site: Site,
    /// Name of its weight, (channels, channels, 1, 1).
    pub weight: String,
}

/// Puts an adapter at every site. The graph computes what it did, until the adapters are fitted.
pub fn insert(graph: &Graph, sites: &[Site]) -> (Graph, Vec<Adapter>) {
    let mut graph = graph.clone();
    let adapters = sites.iter().map(|site| insert_one(&mut graph, site)).collect();
    (graph, adapters)
}

fn insert_one(graph: &mut Graph, site: &Site) -> Adapter {
    let at = graph.nodes.iter().position(|node| node.output() == site.conv).expect("a site names a node of its graph");
    let side = if site.side == Side::Pre { "pre" } else { "post" };
    let weight = format!("practised/{side}-adapter/{}", site.conv);
    graph.initializers.insert(weight.clone(), Arc::new(identity(site.channels)));
    let output = format!("{weight}/output");
    match site.side {
        Side::Pre => {
            let node = pointwise(&graph.nodes[at].inputs[0], &weight, &output);
            graph.nodes[at].inputs[0] = output;
            graph.nodes.insert(at, node);
        }
        Side::Post => super::edit::insert_behind(graph, at, pointwise(&site.conv, &weight, &output)),
    }
    Adapter { site: site.clone(), weight }
}

fn pointwise(input: &str, weight: &str, output: &str) -> Node {
    let mut node = Node {
        name: weight.to_owned(),
        op: "Conv".into(),
        inputs: vec![input.to_owned(), weight.to_owned()],
        outputs: vec![output.to_owned()],
        ..Node::default()
    };
    node.attrs.set("kernel_shape", Attribute::Ints(vec![1, 1]));
    node
}

fn identity(channels: usize) -> TensorData {
    let mut values = vec![0.0; channels * channels];
    values.iter_mut().step_by(channels + 1).for_each(|value| *value = 1.0);
    TensorData::from_f32(&[channels, channels, 1, 1], &values)
}
