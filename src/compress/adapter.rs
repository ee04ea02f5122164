//! Adapters in a graph: bias-free 1×1 convolutions that start as the identity (method §3).

use std::sync::Arc;

use tch::{Kind, Tensor};

use crate::graph::{Attribute, Node, TensorData};

use super::CompressError;
use super::edit::position;
use super::sites::{Side, Site};
use super::student::Student;

/// An adapter that stands in a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adapter {
    /// Where it stands.
    pub site: Site,
    /// Name of its weight, (channels, channels, 1, 1).
    pub weight: String,
}

/// Puts an adapter at every site of a copy of the student, which computes what it did until the adapters are fitted.
pub fn insert(student: &Student, sites: &[Site]) -> Result<(Student, Vec<Adapter>), CompressError> {
    let mut adapted = student.copy()?;
    let adapters = sites.iter().map(|site| insert_one(&mut adapted, site)).collect::<Result<_, _>>()?;
    Ok((adapted, adapters))
}

fn insert_one(student: &mut Student, site: &Site) -> Result<Adapter, CompressError> {
    let at = position(&student.graph, &site.conv).expect("a site names a node of its graph");
    let side = if site.side == Side::Pre { "pre" } else { "post" };
    let weight = format!("practised/{side}-adapter/{}", site.conv);
    student.graph.initializers.insert(weight.clone(), Arc::new(identity(site.channels)));
    let channels = site.channels as i64;
    let start = Tensor::f_eye(channels, (Kind::Float, student.params.device()))?;
    student.params.set(&weight, start.f_reshape([channels, channels, 1, 1])?);
    let output = format!("{weight}/output");
    match site.side {
        Side::Pre => {
            let node = pointwise(&student.graph.nodes[at].inputs[0], &weight, &output);
            student.graph.nodes[at].inputs[0] = output;
            student.graph.nodes.insert(at, node);
        }
        Side::Post => student.insert_behind(at, pointwise(&site.conv, &weight, &output)),
    }
    Ok(Adapter { site: site.clone(), weight })
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
