//! A teacher with images, for what is tried on tiny networks without a job around it.

use practised::compress::file;
use practised::compress::observer::Unobserved;
use practised::compress::recipes::{Recovered, by_practised};
use practised::compress::recoverability::{Fitted, by_closed_form};
use practised::compress::refit::{Frontier, Known, RefitTarget, refit};
use practised::compress::samples::Samples;
use practised::compress::setting::Setting;
use practised::compress::student::Student;
use practised::compress::student::forward::{Answers, Forward};
use practised::compress::train::checkpoint::Checkpoints;
use practised::exec::Device;
use practised::network::Network;
use practised::network::blocks::Block;
use practised::spec::config::{FinetuneConfig, Recipe};
use tch::Tensor;

use super::networks::TinyResNet;
use super::noise;

/// A teacher with images, and what it answers about them.
pub struct Scene {
    pub network: Network,
    pub teacher: Student,
    pub samples: Samples,
    fit: Answers,
    held_out: Option<Answers>,
}

impl Scene {
    pub fn new(net: &TinyResNet, images: i64, held_out: i64) -> Self {
        Self::of(&net.bytes(), net, images, held_out)
    }

    pub fn of(file: &[u8], net: &TinyResNet, images: i64, held_out: i64) -> Self {
        let side = net.pixels as i64;
        Self::seeing(file, noise(&[images, net.channels as i64, side, side], 5), held_out)
    }

    pub fn seeing(file: &[u8], images: Tensor, held_out: i64) -> Self {
        let (count, channels) = (images.size()[0], images.size()[1]);
        let samples = Samples {
            images,
            fit: (held_out..count).collect(),
            held_out: (0..held_out).collect(),
            black: vec![0.0; channels as usize],
            mixtures: false,
            made: false,
            repeated: 0,
        };
        Self::with(file, samples)
    }

    pub fn with(file: &[u8], samples: Samples) -> Self {
        let network = Network::load(file).expect("a tiny network loads");
        let teacher = Student::teacher(&network, Device::Cpu).expect("the teacher runs");
        let forward = Forward::answers(&network, &teacher).expect("plans");
        let ask = |indices: &[i64]| forward.all(&teacher.params, &samples, indices).expect("answers");
        let (fit, held) = (ask(&samples.fit), (!samples.held_out.is_empty()).then(|| ask(&samples.held_out)));
        Self { network, teacher, fit, held_out: held, samples }
    }

    pub fn setting(&self) -> Setting<'_> {
        Setting {
            network: &self.network,
            teacher: &self.teacher,
            samples: &self.samples,
            fit: &self.fit,
            held_out: self.held_out.as_ref(),
            device: Device::Cpu,
            seed: 7,
        }
    }

    pub fn blocks(&self, names: &[&str]) -> Vec<&Block> {
        names.iter().map(|name| self.network.block(name).expect("a block")).collect()
    }

    pub fn loss(&self, student: &Student) -> f64 {
        self.setting().loss_deciding(student).expect("a number")
    }

    /// The block's score in closed form, by itself.
    pub fn score(&self, block: &Block) -> Fitted {
        by_closed_form(&self.setting(), &[], block, &mut Frontier::default(), &Unobserved).expect("fits")
    }

    /// One refit by itself, with the loss that is left; `None` where none helps.
    pub fn refit(&self, student: &Student, problem: &RefitTarget) -> Option<(Student, f64)> {
        let mut teacher = Frontier::default();
        let known = &mut Known::of_teacher(&mut teacher);
        refit(&self.setting(), student, problem, &[], known, &Unobserved).expect("solves")
    }

    pub fn outputs(&self, student: &Student) -> Tensor {
        file::outputs(&self.network, student, &self.samples.images).expect("runs").remove(0)
    }

    pub fn recover(&self, dropped: &[&str], steps: u32) -> (Student, Recovered) {
        let blocks = self.blocks(dropped);
        let plain = Student::dropped(&self.network, &blocks, Device::Cpu).expect("drops");
        let config = FinetuneConfig { recipe: Recipe::Practised, steps: Some(steps), ..FinetuneConfig::default() };
        let recovered =
            by_practised(&self.setting(), &plain, &blocks, &config, &Checkpoints::none(&Unobserved)).expect("recovers");
        (plain, recovered)
    }
}
