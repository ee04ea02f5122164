//! Obstacles to running a network.

use super::error::NetworkError;
use crate::exec;
use crate::graph::{DataType, Graph, InputShapes, fold};

/// All obstacles to running a folded graph.
pub(super) fn obstacles(graph: &Graph) -> Vec<NetworkError> {
    let unsupported = exec::unsupported(graph);
    let unsupported = (!unsupported.is_empty()).then_some(NetworkError::Unsupported(unsupported));
    half_precision(graph).into_iter().chain(huge_value(graph)).chain(unsupported).collect()
}

/// The first value, in graph order, that exceeds the size limit.
fn huge_value(graph: &Graph) -> Option<NetworkError> {
    // 8 GiB of float32.
    const MOST: usize = 1 << 31;
    let inputs = graph.inputs.iter().map(|input| (None, &input.name));
    let written = graph.nodes.iter().flat_map(|node| node.outputs.iter().map(move |value| (Some(node), value)));
    inputs.chain(written).find_map(|(node, value)| {
        let elements = graph.elements(value).filter(|elements| *elements > MOST)?;
        let node = node.map(|node| node.label().to_owned());
        Some(NetworkError::HugeValue { value: value.clone(), node, elements, limit: MOST })
    })
}

/// Combines an error with all other obstacles of the file, so that one more export is enough.
pub(super) fn with_obstacles(refusal: NetworkError, file: &Graph) -> NetworkError {
    // Such an error already lists everything.
    if !matches!(refusal, NetworkError::ModelInterface(_) | NetworkError::Graph(_)) {
        return refusal;
    }
    let mut all = vec![refusal];
    let known = file.inputs.iter().all(|input| input.ty.shape.is_some());
    match fold(file, &InputShapes::new()) {
        Ok(graph) if known => all.extend(obstacles(&graph)),
        _ => {
            let unknown = exec::unknown(file);
            all.extend((!unknown.is_empty()).then_some(NetworkError::Unsupported(unknown)));
        }
    }
    NetworkError::check(all).expect_err("there is one")
}

fn half_precision(graph: &Graph) -> Option<NetworkError> {
    let half = |dtype| matches!(dtype, DataType::Float16 | DataType::BFloat16);
    let mut halves = graph.initializers.iter().filter(|(_, tensor)| half(tensor.dtype));
    let (name, tensor) = halves.next()?;
    Some(NetworkError::HalfPrecision { tensor: name.clone(), count: 1 + halves.count(), dtype: tensor.dtype })
}
