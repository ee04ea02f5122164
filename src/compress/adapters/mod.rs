//! Adapters in a graph: linear maps of the channels, without bias, that start as the identity (docs/method.md §3). At a convolution an
//! adapter is a 1×1 convolution, at a linear layer a `MatMul`.

pub mod merge;
pub mod sites;

use std::sync::Arc;

use tch::{Kind, Tensor};

use self::sites::{Side, Site};
use super::CompressError;
use super::student::edit::wide;
use super::student::{Student, layer};
use crate::exec::Params;
use crate::graph::{Attribute, Node, TensorData};

/// An adapter in a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adapter {
    /// Its site.
    pub site: Site,
    /// Name of its weight: (channels, channels, 1, 1) at a convolution; (channels, channels), which rows are multiplied by, at a
    /// linear layer.
    pub weight: String,
}

/// Puts an adapter at every site of a copy of the student, which computes the same until the adapters are fitted.
pub fn insert(student: &Student, sites: &[Site]) -> Result<(Student, Vec<Adapter>), CompressError> {
    let mut adapted = student.copy()?;
    let adapters = sites.iter().map(|site| insert_one(&mut adapted, site)).collect::<Result<_, _>>()?;
    Ok((adapted, adapters))
}

fn insert_one(student: &mut Student, site: &Site) -> Result<Adapter, CompressError> {
    let at = site.layer.position(&student.graph);
    let side = if site.side == Side::Pre { "pre" } else { "post" };
    let weight = format!("practised/{side}-adapter/{}", site.layer.output);
    let dims = dims(site);
    student.graph.initializers.insert(weight.clone(), Arc::new(identity(site.channels, &dims)));
    let start = Tensor::f_eye(site.channels as i64, (Kind::Float, student.params.device()))?;
    student.params.set(&weight, start.f_reshape(dims.iter().map(|size| *size as i64).collect::<Vec<_>>())?);
    let output = format!("{weight}/output");
    match site.side {
        Side::Pre => {
            let node = node(site, &student.graph.nodes[at].inputs[0], &weight, &output);
            student.graph.nodes[at].inputs[0] = output;
            student.graph.nodes.insert(at, node);
        }
        Side::Post => student.insert_behind(at, node(site, &site.layer.output, &weight, &output)),
    }
    Ok(Adapter { site: site.clone(), weight })
}

impl Adapter {
    /// The matrix A (channels, channels), f64, that it multiplies the channels by: `y = A·x` at every position.
    pub(crate) fn map(&self, params: &Params) -> Result<Tensor, CompressError> {
        let weight = wide(params, &self.weight)?;
        Ok(match self.site.layer.kind {
            layer::Kind::Convolution => weight.f_flatten(1, -1)?,
            _ => weight.f_transpose(0, 1)?,
        })
    }
}

/// Sizes of the weight.
fn dims(site: &Site) -> Vec<usize> {
    let channels = site.channels;
    match site.layer.kind {
        layer::Kind::Convolution => vec![channels, channels, 1, 1],
        _ => vec![channels, channels],
    }
}

fn node(site: &Site, input: &str, weight: &str, output: &str) -> Node {
    let mut node = Node {
        name: weight.to_owned(),
        op: "MatMul".into(),
        inputs: vec![input.to_owned(), weight.to_owned()],
        outputs: vec![output.to_owned()],
        ..Node::default()
    };
    if site.layer.kind == layer::Kind::Convolution {
        node.op = "Conv".into();
        node.attrs.set("kernel_shape", Attribute::Ints(vec![1, 1]));
    }
    node
}

fn identity(channels: usize, dims: &[usize]) -> TensorData {
    let mut values = vec![0.0; channels * channels];
    values.iter_mut().step_by(channels + 1).for_each(|value| *value = 1.0);
    TensorData::from_f32(dims, &values)
}
