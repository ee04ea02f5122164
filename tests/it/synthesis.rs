//! Pictures that are changed until the teacher recognises them: it does, they stay pictures, and their statistics are those of
//! training where the network keeps any.

use practised::compress::observer::Unobserved;
use practised::compress::pictures::synthesis::{Range, Synthesis};
use practised::compress::student::Student;
use practised::exec::{Device, Executor, RunOptions};
use practised::network::Network;
use tch::{Kind, Tensor};

use crate::support::networks::{BatchNorm, TinyResNet};

const COUNT: i64 = 24;

fn range(channels: usize) -> Range {
    Range { black: [-1.0, -2.0, -0.5][..channels].to_vec(), white: [1.0, 2.0, 1.5][..channels].to_vec() }
}

/// Grey noise between black and white.
fn pictures(net: &TinyResNet) -> Tensor {
    tch::manual_seed(3);
    let side = net.pixels as i64;
    let of = |values: &[f64]| Tensor::from_slice(values).to_kind(Kind::Float).view([1, -1, 1, 1]);
    let (black, white) = (of(&range(net.channels).black), of(&range(net.channels).white));
    (Tensor::rand([COUNT, 1, side, side], (Kind::Float, tch::Device::Cpu)) * 0.2 + 0.4) * (white - &black) + black
}

struct Made {
    network: Network,
    teacher: Student,
    before: Tensor,
    after: Tensor,
}

fn made(net: &TinyResNet, seed: u64) -> Made {
    made_by(Network::load(&net.bytes()).expect("a tiny network loads"), net, seed)
}

/// Pictures of the size of `net`, as `network` recognises them.
fn made_by(network: Network, net: &TinyResNet, seed: u64) -> Made {
    let teacher = Student::teacher(&network, Device::Cpu).expect("runs");
    let before = pictures(net);
    let synthesis = Synthesis::of(&network, &teacher, &range(net.channels), &before);
    let synthesis = synthesis.expect("runs").expect("there is something to go by");
    let after = synthesis.recognised(&before, 8, seed, &Unobserved).expect("changes pictures");
    Made { network, teacher, before, after }
}

impl Made {
    /// A value of the teacher on these pictures.
    fn value(&self, name: &str, pictures: &Tensor) -> Tensor {
        let input = self.network.input.name.as_str();
        let executor = Executor::new(&self.network.graph, &[input], &[name]).expect("a value of this network");
        executor.run(&self.teacher.params, &[(input, pictures)], &RunOptions::INFERENCE).expect("runs").remove(0)
    }

    /// How sure the teacher is of the class that it sees, on average.
    fn sure(&self, pictures: &Tensor) -> f64 {
        let output = self.value(&self.network.answers[0].name, pictures);
        output.softmax(1, Kind::Float).amax([1], false).mean(Kind::Float).double_value(&[])
    }
}

#[test]
fn a_trained_teacher_recognises_what_it_did_not_and_every_class_is_among_it() {
    let model = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/fashion-mnist/model.onnx"));
    let net = TinyResNet { pixels: 28, channels: 1, ..TinyResNet::default() };
    let made = made_by(Network::load(&model.expect("the example")).expect("loads"), &net, 1);
    let (before, after) = (made.sure(&made.before), made.sure(&made.after));
    assert!(after > 0.6 && after > before + 0.1, "{before} sure before, {after} after");
    let different = |pictures: &Tensor| {
        let output = made.value(&made.network.answers[0].name, pictures);
        let seen = Vec::<i64>::try_from(output.argmax(1, false)).expect("classes");
        (0..10).filter(|class| seen.contains(class)).count()
    };
    assert!(different(&made.before) < 5, "grey noise looks like few things");
    assert!(different(&made.after) >= 9, "{} classes", different(&made.after));
}

#[test]
fn pixels_stay_between_black_and_white() {
    let made = made(&TinyResNet::default(), 1);
    let Range { black, white } = range(3);
    for (channel, (black, white)) in black.into_iter().zip(white).enumerate() {
        let plane = made.after.select(1, channel as i64);
        assert!(plane.min().double_value(&[]) >= black - 1e-5 && plane.max().double_value(&[]) <= white + 1e-5);
    }
}

#[test]
fn statistics_come_nearer_to_those_of_training() {
    let net = TinyResNet { bn: BatchNorm::Kept, ..TinyResNet::default() };
    let mut network = Network::load(&net.bytes()).expect("loads");
    // The features in place of the classes: statistics are all there is to go by.
    network.answers[0].name = network.tap.values[0].clone();
    let made = made_by(network, &net, 1);
    let norms: Vec<_> = made.network.graph.nodes.iter().filter(|node| node.is("BatchNormalization")).collect();
    assert!(!norms.is_empty());
    let off = |pictures: &Tensor| -> f64 {
        let of_norm = |norm: &&practised::graph::Node| {
            let weight = |at: usize| made.teacher.params.get(&norm.inputs[at]).expect("a weight").shallow_clone();
            let seen = made.value(&norm.inputs[0], pictures);
            let axes = [0i64, 2, 3];
            let mean = seen.mean_dim(axes.as_slice(), false, Kind::Float) - weight(3);
            let deviation = seen.std_dim(axes.as_slice(), false, false) - weight(4).sqrt();
            ((mean.square() + deviation.square()) / weight(4)).mean(Kind::Float).double_value(&[])
        };
        norms.iter().map(of_norm).sum()
    };
    let (before, after) = (off(&made.before), off(&made.after));
    assert!(after < 0.8 * before, "{before} off before, {after} after");
}

#[test]
fn the_same_seed_makes_the_same_pictures() {
    let net = TinyResNet::default();
    assert!(made(&net, 5).after.equal(&made(&net, 5).after));
    assert!(!made(&net, 5).after.equal(&made(&net, 6).after));
}

#[test]
fn without_classes_and_statistics_there_is_nothing_to_go_by() {
    let net = TinyResNet { bn: BatchNorm::Folded, ..TinyResNet::default() };
    // The features in place of the classes.
    let mut network = Network::load(&net.bytes()).expect("loads");
    network.answers[0].name = network.tap.values[0].clone();
    let teacher = Student::teacher(&network, Device::Cpu).expect("runs");
    assert!(Synthesis::of(&network, &teacher, &range(net.channels), &pictures(&net)).expect("runs").is_none());
}

#[test]
fn a_stopped_job_stops_at_the_next_step() {
    struct Stopped;
    impl practised::compress::observer::Observer for Stopped {
        fn progress(&self, _: practised::spec::phase::Phase, _: u64, _: u64) {}
        fn event(&self, _: &str, _: serde_json::Value) {}
        fn cancelled(&self) -> bool {
            true
        }
    }
    let net = TinyResNet::default();
    let network = Network::load(&net.bytes()).expect("loads");
    let teacher = Student::teacher(&network, Device::Cpu).expect("runs");
    let before = pictures(&net);
    let synthesis =
        Synthesis::of(&network, &teacher, &range(net.channels), &before).expect("runs").expect("something to go by");
    let stopped = synthesis.recognised(&before, 8, 1, &Stopped);
    assert!(matches!(stopped, Err(practised::compress::CompressError::Cancelled)));
}
