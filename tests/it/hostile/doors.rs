//! The doors through which a customer's bytes come in. The fuzzers (`fuzz/`) and the tests of what these have found go through
//! the same ones. Each takes any bytes at all: it may refuse them, and must not panic or ask for memory that they are not worth.

use practised::compress::student::drop_patch;
use practised::graph::{self, Graph, InputShapes, fold, free_batch};
use practised::images::{ImageSet, Limits, ModelInput, Preprocess};
use practised::network::dominators::Dominators;
use practised::network::{Network, NetworkError, blocks, macs, tap};
use practised::{exec, onnx};

/// A network, read; one that is sound can be written again, and what was written is read as the same.
pub fn decode(bytes: &[u8]) {
    let Ok(model) = onnx::decode(bytes) else { return };
    if graph::check(&model.graph).is_ok() {
        let written = onnx::encode(&model, &model.graph, &[]).expect("a sound network can be written");
        let again = onnx::decode(&written).expect("what was written can be read");
        assert!(again.graph.initializers == model.graph.initializers, "a tensor has changed");
        assert!(onnx::encode(&again, &again.graph, &[]).expect("it is still sound") == written, "the file has changed");
    }
}

/// A network, looked at as `practised check` and the registration of a model do, and without its first block.
pub fn check(bytes: &[u8]) {
    match Network::load(bytes) {
        Ok(network) => {
            serde_json::to_string(&network.analysis()).expect("an analysis can be written as JSON");
            without_a_block(&network);
        }
        // Refused before its nodes are looked at.
        Err(NetworkError::ModelInterface(_)) => {
            nodes(&onnx::decode(bytes).expect("what has an interface was read").graph)
        }
        Err(error) => {
            let answer = (error.to_string(), error.faults());
            assert!(!answer.0.is_empty());
        }
    }
}

fn without_a_block(network: &Network) {
    let Some(block) = network.blocks.iter().find(|block| block.droppable()) else { return };
    let patch = drop_patch(&[block]);
    let folded = patch.apply(&network.graph).map(|graph| exec::unsupported(&graph));
    let _ = (folded, patch.apply(&network.model.graph).map(|graph| onnx::encode(&network.model, &graph, &[])));
}

/// What is asked of the nodes of a network, whatever goes in and comes out.
fn nodes(graph: &Graph) {
    let Ok(folded) = fold(&free_batch(graph), &InputShapes::new()) else { return };
    let tree = Dominators::new(&folded);
    let _ = (
        exec::unsupported(&folded),
        blocks::find(&folded, &tree).map(|blocks| tap::find(&folded, &tree, &folded.outputs, &blocks)),
        macs::of_graph(&folded),
    );
}

/// A zip of images, opened and made into a tensor; no name in it leads out of it.
pub fn archive(bytes: &[u8], limits: &Limits) {
    let Ok(set) = ImageSet::from_zip_bytes(bytes, limits) else { return };
    for name in set.images().iter().map(|image| &image.name) {
        let leaves = name.starts_with(['/', '\\']) || name.split(['/', '\\']).any(|part| part == "..");
        assert!(!leaves && !name.contains('\0'), "{name:?}");
    }
    let preprocess = Preprocess::default();
    if let Ok(size) = preprocess.check(ModelInput::default(), set.images()) {
        let _ = set.tensor_data(&preprocess, size);
    }
    set.sha256();
}
