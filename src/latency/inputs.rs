//! Inputs that a network is fed during a measurement.

use super::protocol::Input;
use crate::graph::{DataType, Dim, Graph, ValueInfo};

/// The inputs of a network for `batch` images; `size` gives a dynamic height and width.
///
/// # Errors
/// A sentence with the fix: an input is not float, the file has another fixed batch, or a dynamic size was not given.
pub fn model_inputs(graph: &Graph, batch: usize, size: Option<(usize, usize)>) -> Result<Vec<Input>, String> {
    if graph.inputs.is_empty() {
        return Err("the network has no input".to_owned());
    }
    graph.inputs.iter().map(|info| Ok(Input::seeded(&info.name, dims(info, batch, size)?))).collect()
}

fn dims(info: &ValueInfo, batch: usize, size: Option<(usize, usize)>) -> Result<Vec<usize>, String> {
    let name = &info.name;
    if info.ty.dtype != DataType::Float32 {
        return Err(format!("input {name:?} is {:?}; only float inputs can be measured", info.ty.dtype));
    }
    let Some(shape) = &info.ty.shape else {
        return Err(format!("input {name:?} has no shape; export the network with the shape of its input"));
    };
    let free = |index: usize| match (index, size) {
        (0, _) => Ok(batch),
        (2, Some((height, _))) if shape.len() == 4 => Ok(height),
        (3, Some((_, width))) if shape.len() == 4 => Ok(width),
        (2 | 3, None) if shape.len() == 4 => {
            Err(format!("input {name:?} has a dynamic height and width; set them, for example --size 224x224"))
        }
        _ => Err(format!("input {name:?} has a dynamic dimension {index}; export the network with a fixed one")),
    };
    let dims = shape.iter().enumerate().map(|(index, dim)| match dim {
        Dim::Known(fixed) if index == 0 && shape.len() > 1 && *fixed != batch => Err(format!(
            "input {name:?} has a fixed batch of {fixed}; measure with --batch {fixed}, or export the network with a dynamic \
             batch"
        )),
        Dim::Known(fixed) => Ok(*fixed),
        Dim::Symbol(_) | Dim::Unknown => free(index),
    });
    dims.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::ValueType;

    fn graph(dtype: DataType, shape: Vec<Dim>) -> Graph {
        let ty = ValueType { dtype, shape: Some(shape) };
        Graph { inputs: vec![ValueInfo { name: "x".to_owned(), ty }], ..Graph::default() }
    }

    fn free(name: &str) -> Dim {
        Dim::Symbol(name.to_owned())
    }

    #[test]
    fn free_dimensions_are_filled_and_fixed_ones_kept() {
        let network = graph(DataType::Float32, vec![free("N"), Dim::Known(3), free("H"), Dim::Known(32)]);
        let inputs = model_inputs(&network, 8, Some((24, 99))).expect("resolved");
        assert_eq!(inputs, [Input::seeded("x", vec![8, 3, 24, 32])]);
    }

    #[test]
    fn what_cannot_be_resolved_says_the_way_out() {
        let image = |batch| vec![batch, Dim::Known(3), Dim::Known(8), Dim::Known(8)];
        let cases = [
            (graph(DataType::Float32, image(Dim::Known(1))), "--batch 1"),
            (graph(DataType::Int64, image(free("N"))), "only float"),
            (graph(DataType::Float32, vec![free("N"), Dim::Known(3), free("H"), free("W")]), "--size"),
            (graph(DataType::Float32, vec![free("N"), free("C")]), "dimension 1"),
            (Graph::default(), "no input"),
        ];
        for (network, part) in cases {
            let error = model_inputs(&network, 8, None).expect_err(part);
            assert!(error.contains(part), "{error}");
        }
    }
}
