//! Small edits of the folded graph that never leave this process; what a customer gets is edited through
//! [`crate::graph::patch::Patch`].

use std::sync::Arc;

use tch::{Kind, Tensor};

use super::Student;
use crate::compress::CompressError;
use crate::exec::Params;
use crate::graph::{Graph, TensorData};

/// Index of the node that writes a value first.
pub fn position(graph: &Graph, output: &str) -> Option<usize> {
    graph.nodes.iter().position(|node| node.outputs.first().is_some_and(|first| first == output))
}

/// The name of the `index`-th input of the node at `at`, after making sure that no other node reads it: a weight that two
/// convolutions share must change for one of them only.
pub fn own_input(graph: &mut Graph, params: &mut Params, at: usize, index: usize) -> String {
    own_inputs(graph, params, &[(at, index)])
}

/// The same for one weight that these nodes read in common, each given with the index of that input: they go on reading one
/// tensor, and no other node does.
pub fn own_inputs(graph: &mut Graph, params: &mut Params, places: &[(usize, usize)]) -> String {
    let (first, index) = places[0];
    let name = graph.nodes[first].inputs[index].clone();
    let readers = graph.nodes.iter().flat_map(|node| &node.inputs).filter(|input| **input == name).count();
    // What the network puts out must not change either.
    if readers == places.len() && !graph.is_output(&name) {
        return name;
    }
    let fresh = graph.free_name(&format!("{name}/{}", graph.nodes[first].output()));
    let tensor = params.get(&name).expect("the weight of a node of the graph").copy();
    params.set(&fresh, tensor);
    let data = graph.initializers[&name].clone();
    graph.initializers.insert(fresh.clone(), data);
    for (at, index) in places {
        graph.nodes[*at].inputs[*index].clone_from(&fresh);
    }
    fresh
}

/// A weight of the graph in f64, in which weights are merged and folded.
pub fn wide(params: &Params, name: &str) -> Result<Tensor, CompressError> {
    let tensor = params.get(name).expect("the weight of a node of the graph");
    Ok(tensor.f_detach()?.f_to_kind(Kind::Double)?)
}

/// Sets a weight, in the graph as well where the graph does not know it yet.
pub fn set_weight(student: &mut Student, name: &str, tensor: &Tensor) -> Result<(), CompressError> {
    let dims: Vec<usize> = tensor.size().iter().map(|size| *size as usize).collect();
    let narrow = tensor.f_to_kind(Kind::Float)?;
    if !student.graph.initializers.contains_key(name) {
        let zeros = TensorData::from_f32(&dims, &vec![0.0; dims.iter().product()]);
        student.graph.initializers.insert(name.to_owned(), Arc::new(zeros));
    }
    student.params.set(name, narrow);
    Ok(())
}

/// The name of the bias of these layers, which share it with each other and with no other node; zeros of the shape of `like`,
/// (M), are made if they have none.
pub fn own_bias(student: &mut Student, places: &[usize], like: &Tensor) -> Result<String, CompressError> {
    if student.graph.nodes[places[0]].input(2).is_some() {
        let places: Vec<(usize, usize)> = places.iter().map(|at| (*at, 2)).collect();
        return Ok(own_inputs(&mut student.graph, &mut student.params, &places));
    }
    let name = student.graph.free_name(&format!("{}_bias", student.graph.nodes[places[0]].inputs[1]));
    set_weight(student, &name, &like.zeros_like())?;
    for at in places {
        let inputs = &mut student.graph.nodes[*at].inputs;
        inputs.resize(3, String::new());
        inputs[2].clone_from(&name);
    }
    Ok(name)
}
