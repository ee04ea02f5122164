//! The method on tiny networks: what it finds, drops, merges and folds computes what it should.

use practised::compress::adapters;
use practised::compress::adapters::merge::merge;
use practised::compress::adapters::sites::{self, Side};
use practised::compress::file;
use practised::compress::quality::difference::relative_difference;
use practised::compress::random::stream;
use practised::compress::samples::Samples;
use practised::compress::student::forward::Forward;
use practised::compress::student::{Student, batchnorm};
use practised::exec::{BatchNorm as Statistics, Device};
use practised::network::Network;
use practised::network::blocks::Block;
use practised::onnx;
use rand::Rng;
use tch::{Kind, Tensor};

use crate::support::networks::{BatchNorm, Constants, Head, Shapes, Shortcut, Style, TinyResNet};

/// Every form in which the same network can arrive.
fn forms() -> Vec<TinyResNet> {
    let mut forms = Vec::new();
    for style in [Style::Basic, Style::MbConv] {
        for (bn, constants, shapes, head, opset) in [
            (BatchNorm::Kept, Constants::Nodes, Shapes::Computed, Head::GapFlattenGemm, 17),
            (BatchNorm::Folded, Constants::Initializers, Shapes::Constant, Head::ReduceMean, 18),
        ] {
            for shortcut in [Shortcut::Conv, Shortcut::SlicePad] {
                forms.push(TinyResNet { style, bn, constants, shapes, head, opset, shortcut, ..TinyResNet::default() });
            }
        }
    }
    forms
}

fn load(net: &TinyResNet) -> Network {
    Network::load(&net.bytes()).expect("a tiny network loads")
}

fn images(count: i64, net: &TinyResNet) -> Tensor {
    tch::manual_seed(1);
    let side = net.pixels as i64;
    Tensor::randn([count, net.channels as i64, side, side], (Kind::Float, tch::Device::Cpu))
}

fn outputs(network: &Network, student: &Student, images: &Tensor) -> Tensor {
    file::outputs(network, student, images).expect("the student runs").remove(0)
}

fn assert_close(a: &Tensor, b: &Tensor, tolerance: f64, what: &str) {
    let difference = relative_difference(a, b).expect("same shape");
    assert!(difference <= tolerance, "{what}: {difference:.2e} > {tolerance:.0e}");
}

#[test]
fn the_same_blocks_are_found_in_every_form_of_a_network() {
    for net in forms() {
        let network = load(&net);
        let droppable: Vec<&str> = network.blocks.iter().filter(|b| b.droppable()).map(|b| b.name.as_str()).collect();
        assert_eq!(droppable, net.droppable(), "{net:?}");
    }
}

#[test]
fn a_block_that_cannot_be_dropped_says_why() {
    let why = |shortcut| {
        let network = load(&TinyResNet { shortcut, ..TinyResNet::default() });
        let block = network.blocks.iter().find(|block| block.name == "layer2.0").expect("an addition");
        block.reason.as_ref().expect("not droppable").to_string()
    };
    assert_eq!(why(Shortcut::Conv), "projection shortcut: (N, 8, 8, 8) → (N, 16, 4, 4) (N, C, H, W)");
    assert!(why(Shortcut::SlicePad).contains("changes the tensor (Slice, Pad)"), "{}", why(Shortcut::SlicePad));
}

#[test]
fn the_features_are_what_enters_global_pooling() {
    for net in forms() {
        let network = load(&net);
        let shape = network.graph.shape(&network.tap.values[0]).expect("a shape");
        let known: Vec<_> = shape[1..].iter().map(|dim| dim.known()).collect();
        assert_eq!(known, [Some(16), Some(4), Some(4)], "{}", network.tap.reason);
    }
}

#[test]
fn the_tap_of_a_student_moves_where_the_last_block_goes() {
    for net in forms() {
        let network = load(&net);
        let images = images(3, &net);
        let last = network.block("layer2.1").expect("the last block");
        let dropped = Student::dropped(&network, &[last], Device::Cpu).expect("drops");
        assert_ne!(dropped.taps, network.tap.values);
        let features = |student: &Student| {
            let forward = Forward::features(&network, student).expect("plans");
            forward.run(&student.params, &images, Statistics::Running).expect("runs").remove(0)
        };
        assert_close(&features(&silenced(&network, last)), &features(&dropped), 1e-5, "features");
    }
}

/// The branch of a block with nothing in it: dropping must compute exactly this.
fn silenced(network: &Network, block: &Block) -> Student {
    let mut student = Student::teacher(network, Device::Cpu).expect("the teacher runs");
    let node = network.graph.nodes.iter().find(|node| node.output() == block.branch).expect("the end of the branch");
    for name in &node.inputs[1..3] {
        let zeros = student.params.get(name).expect("a weight").zeros_like();
        student.params.set(name, zeros);
    }
    student
}

#[test]
fn dropping_a_block_is_the_network_with_an_empty_branch() {
    for net in forms() {
        let network = load(&net);
        let images = images(3, &net);
        for block in network.blocks.iter().filter(|block| block.droppable()) {
            let dropped = Student::dropped(&network, &[block], Device::Cpu).expect("drops");
            let wanted = outputs(&network, &silenced(&network, block), &images);
            assert_close(&wanted, &outputs(&network, &dropped, &images), 1e-5, &block.name);
            assert!(dropped.graph.nodes.len() < network.graph.nodes.len());
        }
    }
}

#[test]
fn neighbouring_blocks_drop_together() {
    let net = TinyResNet { blocks: 4, ..TinyResNet::default() };
    let network = load(&net);
    let blocks: Vec<&Block> = network.blocks.iter().filter(|block| block.name.starts_with("layer1")).collect();
    assert_eq!(blocks.len(), 4);
    for set in [vec![blocks[1], blocks[2]], vec![blocks[2], blocks[1]], vec![blocks[3], blocks[0], blocks[1]]] {
        let student = Student::dropped(&network, &set, Device::Cpu).expect("drops");
        let additions = student.graph.nodes.iter().filter(|node| node.op == "Add").count();
        assert_eq!(additions, 8 - set.len(), "each dropped block takes its addition along");
        let convs = student.graph.nodes.iter().filter(|node| node.op == "Conv").count();
        assert_eq!(convs, 18 - 2 * set.len(), "and its two convolutions");
    }
}

#[test]
fn adapters_stand_at_the_writers_ahead_and_the_readers_behind() {
    let net = TinyResNet { blocks: 3, ..TinyResNet::default() };
    let network = load(&net);
    let block = network.block("layer1.1").expect("a block");
    let student = Student::dropped(&network, &[block], Device::Cpu).expect("drops");
    let found = sites::find(&student, &block.entry);
    let weight = |site: &sites::Site| {
        let node = student.graph.nodes.iter().find(|node| node.output() == site.layer.output).expect("a node");
        (node.inputs[1].trim_end_matches(".weight").to_owned(), site.side)
    };
    let mut named: Vec<_> = found.iter().map(weight).collect();
    named.sort();
    let wanted = [
        ("layer1.0.conv2", Side::Post),
        ("layer1.2.conv1", Side::Pre),
        ("layer2.0.conv1", Side::Pre),
        ("layer2.0.shortcut", Side::Pre),
        ("stem", Side::Post),
    ];
    assert_eq!(named, wanted.map(|(name, side)| (name.to_owned(), side)));
}

#[test]
fn merged_adapters_compute_what_they_computed_apart() {
    for net in forms() {
        let network = load(&net);
        let images = images(3, &net);
        for block in network.blocks.iter().filter(|block| block.droppable()) {
            let plain = Student::dropped(&network, &[block], Device::Cpu).expect("drops");
            let sites = sites::find(&plain, &block.entry);
            assert!(!sites.is_empty(), "{} of {net:?} has no site", block.name);
            let (mut adapted, adapters) = adapters::insert(&plain, &sites).expect("inserts");
            assert_close(&outputs(&network, &plain, &images), &outputs(&network, &adapted, &images), 1e-6, "at start");
            for adapter in &adapters {
                let identity = adapted.params.get(&adapter.weight).expect("a weight");
                let moved = identity + 0.3 * identity.randn_like();
                adapted.params.set(&adapter.weight, moved);
            }
            let apart = outputs(&network, &adapted, &images);
            let merged = merge(&plain, &adapted, &adapters).expect("merges");
            assert_close(&apart, &outputs(&network, &merged, &images), 1e-4, &block.name);
            let moved = relative_difference(&outputs(&network, &plain, &images), &apart).expect("same shape");
            assert!(moved > 1e-2, "the adapters did change something: {moved:.2e}");
        }
    }
}

fn samples(net: &TinyResNet) -> Samples {
    let count = 24;
    Samples {
        images: images(count, net),
        fit: (8..count).collect(),
        held_out: (0..8).collect(),
        black: vec![0.0; net.channels],
        mixtures: false,
        made: false,
        repeated: 0,
    }
}

#[test]
fn made_batch_norms_start_as_the_identity_and_fold_back_exactly() {
    for style in [Style::Basic, Style::MbConv] {
        let net = TinyResNet { style, bn: BatchNorm::Folded, ..TinyResNet::default() };
        let network = load(&net);
        let images = images(5, &net);
        let block = network.block("layer1.1").expect("a block");
        let teacher = Student::teacher(&network, Device::Cpu).expect("runs");
        let plain = Student::dropped(&network, &[block], Device::Cpu).expect("drops");
        let (mut with_norms, made) = batchnorm::make(&network, &teacher, &plain, &samples(&net)).expect("makes");
        assert_eq!(made.len(), plain.graph.nodes.iter().filter(|node| node.op == "Conv").count());
        assert_close(&outputs(&network, &plain, &images), &outputs(&network, &with_norms, &images), 1e-5, "at start");

        let mut random = stream(3, "test");
        let names: Vec<String> = with_norms.params.names().map(str::to_owned).collect();
        for name in names {
            let tensor = with_norms.params.get(&name).expect("a weight");
            let factor = 1.0 + random.random_range(0.0..0.5);
            let moved = tensor * factor;
            with_norms.params.set(&name, moved);
        }
        let trained = outputs(&network, &with_norms, &images);
        let folded = batchnorm::fold_back(&with_norms, &made).expect("folds");
        assert!(folded.graph.nodes.iter().all(|node| node.op != "BatchNormalization"));
        assert_close(&trained, &outputs(&network, &folded, &images), 1e-4, "folded back");
    }
}

#[test]
fn an_exported_student_is_the_customers_file_less_the_block() {
    for net in forms() {
        let network = load(&net);
        let images = images(4, &net);
        let block = network.block("layer1.1").expect("a block");
        let mut student = Student::dropped(&network, &[block], Device::Cpu).expect("drops");
        let touched = "layer2.0.conv1.weight";
        let weight = student.params.get(touched).map(|w| w * 1.5);
        if let Some(moved) = weight {
            student.params.set(touched, moved);
        }
        let metadata = [("practised.dropped_blocks".to_owned(), block.name.clone())];
        let bytes = file::to_onnx(&network, &[block], &student, &metadata).expect("exports");
        let reference = file::outputs(&network, &student, &images).expect("runs");
        let worst =
            file::verify(&network, &bytes, &images, Some(&reference), Device::Cpu).expect("is the same network");
        assert!(worst <= 1e-4);

        let read = onnx::decode(&bytes).expect("decodes");
        assert_eq!(
            (&read.graph.inputs, &read.graph.outputs),
            (&network.model.graph.inputs, &network.model.graph.outputs)
        );
        assert!(read.metadata().contains(&metadata[0]));
        for (name, tensor) in &read.graph.initializers {
            if name != touched {
                assert_eq!(Some(tensor), network.model.graph.initializers.get(name), "{name} is as it came");
            }
        }
        let order: Vec<&str> = network.model.graph.nodes.iter().map(|node| node.output()).collect();
        let kept: Vec<&str> = read.graph.nodes.iter().map(|node| node.output()).collect();
        let in_order: Vec<&str> = order.into_iter().filter(|name| kept.contains(name)).collect();
        assert_eq!(kept, in_order, "nodes that stayed keep their order");
        assert!(!read.graph.nodes.iter().any(|node| node.name.contains("layer1.1")), "nothing of the block is left");
    }
}
