//! One step of our recipe on tiny networks: fused BatchNormalizations, threads, precision and crops change what it costs and
//! not where it goes.

use practised::compress::quality::difference::relative_difference;
use practised::compress::student::forward::Forward;
use practised::compress::student::fused::Fused;
use practised::compress::student::{Student, batchnorm, weights};
use practised::compress::train::crops;
use practised::compress::train::pair::Pair;
use practised::exec::{BatchNorm as Statistics, Device, set_threads};
use practised::graph::{Node, TensorData};
use practised::spec::config::Precision;
use tch::Tensor;

use crate::recovery::{behind_stem, forms};
use crate::support::networks::TinyResNet;
use crate::support::scene::Scene;

#[test]
fn a_fused_student_computes_the_same_and_has_the_same_gradients() {
    for net in forms() {
        let scene = Scene::new(&net, 40, 8);
        let plain = Student::dropped(&scene.network, &scene.blocks(&["layer1.1"]), Device::Cpu).expect("drops");
        let made = batchnorm::make_behind(&scene.network, &plain, &plain, &scene.samples, 0).expect("makes");
        let mut student = made.0;
        let names = weights::weights(&student.graph, &student.taps);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut fused = Fused::new(&student, 0).expect("fuses");
        assert!(fused.student().graph.nodes.iter().all(|node| node.op != "BatchNormalization"), "{net:?}");
        let parameters = student.params.trainable(&names).expect("trains");
        let gradients = |student: &Student| {
            let forward = Forward::features(&scene.network, student).expect("plans");
            let features = forward.run(&student.params, &scene.samples.images, Statistics::Running).expect("runs");
            let value = features[0].square().mean(tch::Kind::Float);
            let found = Tensor::run_backward(&[value], &parameters, false, false);
            (features[0].detach(), found)
        };
        let (apart, of_apart) = gradients(&student);
        let (together, of_together) = gradients(fused.with(&student.params).expect("computes"));
        assert!(relative_difference(&apart, &together).expect("same shape") < 1e-5);
        for ((name, a), b) in names.iter().zip(&of_apart).zip(&of_together) {
            let difference = relative_difference(a, b).expect("same shape");
            assert!(difference < 1e-3, "{name} of {net:?}: {difference}");
        }
    }
}

/// A student in training, with what plans its steps: all of its weights move.
struct Training {
    scene: Scene,
    fused: Fused,
    student: Student,
    parameters: Vec<Tensor>,
}

impl Training {
    fn new(net: &TinyResNet) -> Self {
        Self::of(Scene::new(net, 40, 8))
    }

    fn of(scene: Scene) -> Self {
        let mut student = Student::dropped(&scene.network, &scene.blocks(&["layer1.1"]), Device::Cpu).expect("drops");
        let fused = Fused::new(&student, 0).expect("fuses");
        let names = weights::weights(&student.graph, &student.taps);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let parameters = student.params.trainable(&names).expect("trains");
        Self { scene, fused, student, parameters }
    }

    fn pair(&self, precision: Precision) -> Pair {
        Pair::plan(&self.scene.setting(), self.fused.student(), 0, &[], precision).expect("plans")
    }

    /// Gradients of one step with so many threads.
    fn gradients(&mut self, pair: &Pair, threads: usize) -> Vec<Tensor> {
        set_threads(threads);
        let student = self.fused.with(&self.student.params).expect("computes");
        let views = self.scene.samples.images.narrow(0, 0, 9);
        let gradients = pair.gradients(&student.params, &views, 0.0, &self.parameters).expect("computes");
        gradients.into_iter().filter(Tensor::defined).collect()
    }
}

fn nearly_equal(a: &[Tensor], b: &[Tensor], allowed: f64) -> bool {
    let near = |(a, b): (&Tensor, &Tensor)| relative_difference(a, b).expect("same shape") < allowed;
    !a.is_empty() && a.len() == b.len() && a.iter().zip(b).all(near)
}

#[test]
fn threads_that_share_a_step_find_the_gradients_of_one() {
    for net in forms() {
        let mut training = Training::new(&net);
        let pair = training.pair(Precision::Float32);
        let alone = training.gradients(&pair, 1);
        // Nine views for two and for four: shares of unequal size.
        for threads in [2, 4] {
            let together = training.gradients(&pair, threads);
            assert!(nearly_equal(&alone, &together, 1e-3), "{threads} threads, {net:?}");
        }
    }
}

#[test]
fn steps_in_bfloat16_go_where_those_in_f32_go() {
    for net in forms() {
        let mut training = Training::new(&net);
        let (wide, narrow) = (training.pair(Precision::Float32), training.pair(Precision::Bfloat16));
        let exact = training.gradients(&wide, 1);
        let rounded = training.gradients(&narrow, 2);
        assert!(exact.iter().chain(&rounded).all(|gradient| gradient.kind() == tch::Kind::Float));
        assert!(!nearly_equal(&exact, &rounded, 1e-6), "bfloat16 rounds");
        let all = |gradients: &[Tensor]| {
            Tensor::cat(&gradients.iter().map(|gradient| gradient.flatten(0, -1)).collect::<Vec<_>>(), 0)
        };
        let cosine = Tensor::cosine_similarity(&all(&exact), &all(&rounded), 0, 1e-12).double_value(&[]);
        assert!(cosine > 0.98, "{cosine} with {net:?}");
    }
}

/// The network with something learnt for every position added there.
fn placed(net: &TinyResNet) -> Vec<u8> {
    let dims = [1, net.width, net.pixels, net.pixels];
    let learnt = TensorData::from_f32(&dims, &vec![0.1; dims.iter().product()]);
    let (op, inputs, outputs) = ("Add".to_owned(), vec!["place".to_owned()], vec!["placed".to_owned()]);
    behind_stem(net, Node { name: "place0".into(), op, inputs, outputs, ..Node::default() }, Some(("place", learnt)))
}

#[test]
fn crops_are_for_networks_that_take_them() {
    let net = TinyResNet { pixels: 16, ..TinyResNet::default() };
    let fits = |file: &[u8]| {
        let Training { scene, student, .. } = Training::of(Scene::of(file, &net, 40, 8));
        crops::fit(&scene.setting(), &student, 0, Precision::Float32).expect("an answer")
    };
    assert!(fits(&net.bytes()), "convolutions and a mean take any size");
    assert!(!fits(&placed(&net)), "what is added for every position does not");
}
