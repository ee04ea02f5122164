//! Synthetic images (docs/method.md §7): procedural images whose pixels are optimised until the teacher is as certain of a
//! class as for photographs and, if it has BatchNormalization, until the inputs of its channels have the mean and variance of
//! the training.
//!
//! A fit to procedural images alone can lower the agreement on photographs while the loss on procedural images falls. On
//! synthetic images, the loss of a student is close to its loss on photographs, so they are the validation images.
//!
//! Source: Yin et al., *Dreaming to Distill: Data-free Knowledge Transfer via DeepInversion* (CVPR 2020), §3.2.

use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use tch::{Kind, Tensor};

use crate::compress::CompressError;
use crate::compress::observer::Observer;
use crate::compress::quality::classes::{self, are_probabilities};
use crate::compress::random::stream;
use crate::compress::student::Student;
use crate::compress::train::optimisers::adam::Adam;
use crate::exec::{Executor, RunOptions};
use crate::network::Network;
use crate::spec::phase::Phase;

/// Maximum number of Adam steps per batch of images.
const STEPS: i32 = 25;

/// Initial step of a pixel, as a share of the range from black to white.
const RATE: f64 = 0.025;

/// Mean cross entropy at which the teacher is certain enough: about its value on photographs that it knows.
const SURE: f64 = 0.5;

/// Weight of the total variation, in squares of half the way from black to white.
const SMOOTH: f64 = 2.0;

/// Weight of the statistics.
const STATISTICS: f64 = 10.0;

/// Views are rolled by up to this share of a side, so that the result does not depend on positions.
const ROLLED: f64 = 0.07;

/// Adam's decays, as DeepInversion has them.
const DECAYS: (f64, f64) = (0.5, 0.9);

/// Values of a black and a white pixel in each channel after preprocessing.
pub struct Range {
    /// (C).
    pub black: Vec<f64>,
    /// (C).
    pub white: Vec<f64>,
}

/// Optimises images for a teacher.
pub struct Synthesis<'a> {
    teacher: &'a Student,
    executor: Executor,
    input: &'a str,
    /// Of a classifier.
    classes: Option<i64>,
    /// Whether the classifier answers with probabilities.
    probabilities: bool,
    statistics: Vec<Statistics>,
    black: Tensor,
    /// From black to white.
    span: Tensor,
}

/// Running mean and variance of one BatchNormalization, names of weights, each (C).
struct Statistics {
    mean: String,
    variance: String,
}

impl<'a> Synthesis<'a> {
    /// `None` if the network is neither a classifier nor has BatchNormalization. The first of `pictures`, (n, C, H, W), is
    /// evaluated once.
    pub fn of(
        network: &'a Network,
        teacher: &'a Student,
        range: &Range,
        pictures: &Tensor,
    ) -> Result<Option<Self>, CompressError> {
        let graph = &network.graph;
        let output = network.answers[0].name.as_str();
        let norms: Vec<_> = graph.nodes.iter().filter(|node| node.is("BatchNormalization")).collect();
        let seen = norms.iter().map(|norm| norm.inputs[0].as_str());
        let wanted: Vec<&str> = std::iter::once(output).chain(seen).collect();
        let input = network.input.name.as_str();
        let executor = Executor::new(graph, &[input], &wanted)?;
        let device = teacher.params.device();
        let few = pictures.f_narrow(0, 0, 1)?.f_to_device(device)?;
        let answer = tch::no_grad(|| executor.run(&teacher.params, &[(input, &few)], &RunOptions::INFERENCE))?;
        let classes = classes::decide(classes::of(network), &answer[0], &[])?.map(|_| answer[0].size()[1]);
        if classes.is_none() && norms.is_empty() {
            return Ok(None);
        }
        let statistics =
            norms.iter().map(|norm| Statistics { mean: norm.inputs[3].clone(), variance: norm.inputs[4].clone() });
        let probabilities = classes.is_some() && are_probabilities(&answer[0])?;
        let of_channels = |values: &[f64]| {
            Tensor::from_slice(values).f_to_kind(Kind::Float)?.f_view([1, -1, 1, 1])?.f_to_device(device)
        };
        let (black, white) = (of_channels(&range.black)?, of_channels(&range.white)?);
        let span = white - &black;
        let statistics = statistics.collect();
        Ok(Some(Self { teacher, executor, input, classes, probabilities, statistics, black, span }))
    }

    /// The optimised images, (n, C, H, W); a batch at a time, because statistics are over a batch.
    pub fn recognised(
        &self,
        pictures: &Tensor,
        batch: usize,
        seed: u64,
        observer: &dyn Observer,
    ) -> Result<Tensor, CompressError> {
        let mut random = stream(seed, "synthesis");
        let mut goals = Goals { classes: self.classes, open: Vec::new() };
        let batches = pictures.f_split(batch as i64, 0)?;
        let total = batches.len() as u64;
        let done = batches.into_iter().enumerate().map(|(at, pictures)| {
            observer.progress(Phase::Analyse, at as u64, total);
            let goals = goals.next(pictures.size()[0], &mut random);
            self.moved(&pictures, goals.as_ref(), &mut random, observer)
        });
        Ok(Tensor::f_cat(&done.collect::<Result<Vec<_>, _>>()?, 0)?)
    }

    /// Optimises one batch.
    fn moved(
        &self,
        pictures: &Tensor,
        goals: Option<&Tensor>,
        random: &mut ChaCha8Rng,
        observer: &dyn Observer,
    ) -> Result<Tensor, CompressError> {
        // Pixels from 0 to 1, so that one rate fits every preprocessing.
        let device = self.teacher.params.device();
        let goals = goals.map(|goals| goals.f_to_device(device)).transpose()?;
        let shares = (pictures.f_to_device(device)? - &self.black) / &self.span;
        let mut shares = shares.f_clamp(0.0, 1.0)?.f_set_requires_grad(true)?;
        let mut adam = Adam::new(&shares, DECAYS);
        for step in 0..STEPS {
            observer.check()?;
            let (loss, sure) = self.loss(&rolled(&shares, random)?, goals.as_ref())?;
            if sure && self.statistics.is_empty() {
                break;
            }
            let gradient = Tensor::f_run_backward(&[loss], &[&shares], false, false)?.swap_remove(0);
            let rate = RATE * 0.5 * (1.0 + (std::f64::consts::PI * f64::from(step) / f64::from(STEPS)).cos());
            adam.step(&mut shares, &gradient, rate)?;
            let _ = tch::no_grad(|| shares.f_clamp_(0.0, 1.0))?;
        }
        Ok((shares.f_detach()? * &self.span + &self.black).f_to_device(pictures.device())?)
    }

    /// The loss of these views, pixels from 0 to 1, and whether the teacher is certain of its classes.
    fn loss(&self, views: &Tensor, goals: Option<&Tensor>) -> Result<(Tensor, bool), CompressError> {
        let images = views * &self.span + &self.black;
        let fed = [(self.input, &images)];
        let answers = self.executor.run(&self.teacher.params, &fed, &RunOptions::INFERENCE)?;
        let mut loss = variation(views)? * SMOOTH;
        let mut sure = true;
        if let Some(goals) = goals {
            let output = answers[0].f_flatten(1, -1)?;
            let output = if self.probabilities { output.f_clamp_min(1e-7)?.f_log()? } else { output };
            let entropy = output.f_cross_entropy_loss::<Tensor>(goals, None, tch::Reduction::Mean, -100, 0.0)?;
            sure = entropy.f_double_value(&[])? <= SURE;
            loss += entropy;
        }
        let unlike = self.statistics.iter().zip(&answers[1..]).map(|(statistics, seen)| self.unlike(statistics, seen));
        let unlike = unlike.collect::<Result<Vec<_>, _>>()?;
        if !unlike.is_empty() {
            loss += Tensor::f_stack(&unlike, 0)?.f_mean(Kind::Float)? * STATISTICS;
        }
        Ok((loss, sure))
    }

    /// Distance of the statistics of these values, (n, C, H, W) or (n, C), from those of the training, relative to the
    /// training's variance.
    fn unlike(&self, statistics: &Statistics, seen: &Tensor) -> Result<Tensor, CompressError> {
        let weight = |name: &str| self.teacher.params.get(name).expect("a weight of this network");
        let (mean, variance) = (weight(&statistics.mean), weight(&statistics.variance).f_clamp_min(1e-5)?);
        let over: Vec<i64> = (0..seen.dim() as i64).filter(|axis| *axis != 1).collect();
        let mean_seen = seen.f_mean_dim(over.as_slice(), false, Kind::Float)?;
        let variance_seen = seen.f_var_dim(over.as_slice(), false, false)?;
        let off = (mean_seen - mean).f_square()?;
        let spread = ((variance_seen + 1e-5).f_sqrt()? - variance.f_sqrt()?).f_square()?;
        Ok(((off + spread) / variance).f_mean(Kind::Float)?)
    }
}

/// Target classes of images, each equally often.
struct Goals {
    classes: Option<i64>,
    open: Vec<i64>,
}

impl Goals {
    /// The next (n) of them; `None` without classes.
    fn next(&mut self, n: i64, random: &mut ChaCha8Rng) -> Option<Tensor> {
        let classes = self.classes?;
        let mut goal = || {
            if self.open.is_empty() {
                self.open = (0..classes).collect();
                self.open.shuffle(random);
            }
            self.open.pop().unwrap_or_default()
        };
        let goals: Vec<i64> = (0..n).map(|_| goal()).collect();
        Some(Tensor::from_slice(&goals))
    }
}

/// The same images, (n, C, H, W), rolled together and randomly flipped.
fn rolled(pictures: &Tensor, random: &mut ChaCha8Rng) -> Result<Tensor, CompressError> {
    let size = pictures.size();
    let mut by = |side: i64| {
        let most = (side as f64 * ROLLED).round() as i64;
        random.random_range(-most..=most)
    };
    let shifts = [by(size[2]), by(size[3])];
    let rolled = pictures.f_roll(shifts, [2, 3])?;
    Ok(if random.random_bool(0.5) { rolled.f_flip([3])? } else { rolled })
}

/// Mean squared difference of neighbours, pixels from 0 to 1, in squares of half of that.
fn variation(views: &Tensor) -> Result<Tensor, CompressError> {
    let along = |axis: i64| -> Result<Option<Tensor>, CompressError> {
        let side = views.size()[axis as usize];
        if side < 2 {
            return Ok(None);
        }
        let difference = views.f_narrow(axis, 1, side - 1)? - views.f_narrow(axis, 0, side - 1)?;
        Ok(Some(difference.f_square()?.f_mean(Kind::Float)? * 4.0))
    };
    let along: Vec<Tensor> = [along(2)?, along(3)?].into_iter().flatten().collect();
    Ok(along.into_iter().reduce(|a, b| a + b).unwrap_or_else(|| Tensor::from(0.0f32).to_device(views.device())))
}
