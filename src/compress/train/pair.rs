//! Teacher and student on the same images, the student from where it first differs.

use std::thread;

use tch::{Kind, Tensor};

use super::hints;
use super::narrowing::Narrowing;
use crate::compress::CompressError;
use crate::compress::quality::loss::feature_loss;
use crate::compress::setting::Setting;
use crate::compress::student::fused::Fused;
use crate::compress::student::{Student, boundary};
use crate::exec::{self, Executor, Params, RunOptions, cuda, memory};
use crate::spec::config::Precision;

/// Teacher and student run one after the other. Ahead of the first difference the student *is* the teacher, so it starts
/// from the values that the teacher has computed there.
pub struct Pair {
    /// With every BatchNormalization in the kernel ahead of it.
    teacher: Executor,
    /// The teacher's weights, as they are computed with.
    weights: Params,
    student: Executor,
    input: String,
    shared: Vec<String>,
    /// Taps of the student; what either network is asked for beyond them are hints.
    taps: usize,
    /// How the student's weights become bfloat16; `None` in f32.
    narrowing: Option<Narrowing>,
}

impl Pair {
    /// For a student whose nodes ahead of `first` are the teacher's, weights included; `hints` are values of both networks.
    pub fn plan(
        setting: &Setting,
        student: &Student,
        first: usize,
        hints: &[String],
        precision: Precision,
    ) -> Result<Self, CompressError> {
        let shared = boundary::values_at(&student.graph, first, &student.taps);
        let asked: Vec<String> = shared.iter().chain(hints).cloned().collect();
        let mut teacher = Fused::keeping(setting.teacher, 0, &asked)?;
        let teacher = teacher.with(&setting.teacher.params)?;
        let of_teacher: Vec<String> = shared.iter().chain(&teacher.taps).chain(hints).cloned().collect();
        let of_student: Vec<String> = student.taps.iter().chain(hints).cloned().collect();
        let input = setting.network.input.name.as_str();
        let (weights, narrowing) = match precision {
            Precision::Float32 => (teacher.params.shallow_copy(), None),
            Precision::Bfloat16 => {
                let student = Narrowing::of(&student.graph, first);
                (Narrowing::of(&teacher.graph, 0).narrow(&teacher.params)?, Some(student))
            }
        };
        Ok(Self {
            teacher: Executor::new(&teacher.graph, &[input], &names(&of_teacher))?,
            weights,
            student: Executor::new(&student.graph, &names(&shared), &names(&of_student))?,
            input: input.to_owned(),
            taps: student.taps.len(),
            shared,
            narrowing,
        })
    }

    /// The feature loss of a student with these weights on these views, (n, C, H, W), and `hints` times that of the hints,
    /// in the features' scale; BatchNormalization uses its running statistics.
    pub fn loss(&self, student: &Params, views: &Tensor, hints: f64) -> Result<Tensor, CompressError> {
        let mut from_teacher = self.of_teacher(views)?;
        let features = wide(from_teacher.split_off(self.shared.len()))?;
        let fed: Vec<(&str, &Tensor)> = self.shared.iter().map(String::as_str).zip(&from_teacher).collect();
        let from_student = wide(match &self.narrowing {
            Some(narrowing) => self.student.run(&narrowing.narrow(student)?, &fed, &RunOptions::INFERENCE)?,
            None => self.student.run(student, &fed, &RunOptions::INFERENCE)?,
        })?;
        let loss = feature_loss(&from_student[..self.taps], &features[..self.taps])?;
        match hints::loss(&from_student[self.taps..], &features[self.taps..])? {
            Some(of_hints) => Ok(loss + of_hints * features[0].f_square()?.f_mean(Kind::Float)? * hints),
            None => Ok(loss),
        }
    }

    /// Gradients of the loss for `of`, which these weights are computed from; undefined for those that play no part in it. On
    /// the CPU every thread takes a share of the views: the convolutions of small networks are too small to be shared, and
    /// threads that wait for each other within one lose all they have won if something else runs on their cores. If memory ran
    /// out, the shares are taken one after the other.
    pub fn gradients(
        &self,
        student: &Params,
        views: &Tensor,
        hints: f64,
        of: &[Tensor],
    ) -> Result<Vec<Tensor>, CompressError> {
        let _search = cuda::Search::begin(student.device());
        let parts = memory::parts() as i64;
        let threads = if student.device().is_cuda() || parts > 1 { 1 } else { exec::threads() as i64 };
        if threads * parts == 1 || views.size()[0] == 1 {
            return Ok(Tensor::f_run_backward(&[self.loss(student, views, hints)?], of, false, false)?);
        }
        let moving: Vec<String> = student.names().filter(|name| moves(student, name)).map(str::to_owned).collect();
        let mut shares = Vec::new();
        for of_share in views.f_chunk(threads * parts, 0)? {
            let weight = of_share.size()[0] as f64 / views.size()[0] as f64;
            let leaves = leaves(student, &moving)?;
            shares.push(Share { pair: self.shallow_copy(), student: leaves, views: of_share, hints, weight });
        }
        let gradients = match threads {
            1 => shares.into_iter().map(|share| share.gradients(&moving)).collect::<Result<Vec<_>, _>>()?,
            _ => side_by_side(shares, &moving)?,
        };
        pass_on(student, &moving, &gradients, of)
    }

    /// The teacher's features of these images, (n, C, H, W), in f32.
    pub fn features(&self, images: &Tensor) -> Result<Vec<Tensor>, CompressError> {
        let mut features = self.of_teacher(images)?.split_off(self.shared.len());
        features.truncate(self.taps);
        wide(features)
    }

    /// What the student starts from, the features and the hints, as computed.
    fn of_teacher(&self, views: &Tensor) -> Result<Vec<Tensor>, CompressError> {
        let views = views.f_to_device(self.weights.device())?;
        let views = if self.narrowing.is_some() { views.f_to_kind(Kind::BFloat16)? } else { views };
        Ok(tch::no_grad(|| self.teacher.run(&self.weights, &[(&self.input, &views)], &RunOptions::INFERENCE))?)
    }

    /// The same with the same weights, for another thread.
    fn shallow_copy(&self) -> Self {
        Self {
            teacher: self.teacher.clone(),
            weights: self.weights.shallow_copy(),
            student: self.student.clone(),
            input: self.input.clone(),
            shared: self.shared.clone(),
            taps: self.taps,
            narrowing: self.narrowing.clone(),
        }
    }
}

/// One thread's part of a step.
struct Share {
    pair: Pair,
    student: Params,
    views: Tensor,
    hints: f64,
    /// Share of the views.
    weight: f64,
}

impl Share {
    /// Gradients of these weights.
    fn gradients(self, moving: &[String]) -> Result<Vec<Tensor>, CompressError> {
        let loss = self.pair.loss(&self.student, &self.views, self.hints)? * self.weight;
        let leaves: Vec<&Tensor> = moving.iter().map(|name| self.student.get(name).expect("a name of these")).collect();
        Ok(Tensor::f_run_backward(&[loss], &leaves, false, false)?)
    }
}

/// The gradients of some shares, each on a thread of its own.
fn side_by_side(shares: Vec<Share>, moving: &[String]) -> Result<Vec<Vec<Tensor>>, CompressError> {
    let threads = exec::threads();
    let gradients = thread::scope(|scope| {
        let alone = |share: Share| {
            exec::set_threads(1);
            share.gradients(moving)
        };
        let running: Vec<_> = shares.into_iter().map(|share| scope.spawn(move || alone(share))).collect();
        running.into_iter().map(|share| share.join().expect("computing does not panic")).collect::<Vec<_>>()
    });
    // Each has set how many threads MKL takes, which is one number for all.
    exec::set_threads(threads);
    gradients.into_iter().collect()
}

fn moves(params: &Params, name: &str) -> bool {
    params.get(name).is_some_and(Tensor::requires_grad)
}

/// The same weights, those that move as leaves of their own.
fn leaves(params: &Params, moving: &[String]) -> Result<Params, CompressError> {
    let mut leaves = params.shallow_copy();
    for name in moving {
        let leaf = params.get(name).expect("a name of these").f_detach()?.f_set_requires_grad(true)?;
        leaves.set(name, leaf);
    }
    Ok(leaves)
}

/// What the sum of some threads' gradients of these weights is for `of`, which the weights come from.
fn pass_on(
    params: &Params,
    moving: &[String],
    gradients: &[Vec<Tensor>],
    of: &[Tensor],
) -> Result<Vec<Tensor>, CompressError> {
    let mut products = Vec::new();
    for (at, name) in moving.iter().enumerate() {
        let of_shares: Vec<&Tensor> = gradients.iter().map(|share| &share[at]).filter(|g| g.defined()).collect();
        let Some((first, rest)) = of_shares.split_first() else { continue };
        let sum = rest.iter().try_fold(first.shallow_clone(), |sum, next| sum.f_add(next))?;
        // Its gradient is the sum: that is how gradients that are known already go on.
        products.push((params.get(name).expect("a name of these") * sum).f_sum(Kind::Float)?);
    }
    if products.is_empty() {
        return Ok(of.iter().map(|_| Tensor::new()).collect());
    }
    let sum = Tensor::f_stack(&products, 0)?.f_sum(Kind::Float)?;
    Ok(Tensor::f_run_backward(&[sum], of, false, false)?)
}

/// Differences of values that are nearly equal are taken in f32.
fn wide(values: Vec<Tensor>) -> Result<Vec<Tensor>, CompressError> {
    Ok(values.iter().map(|value| value.f_to_kind(Kind::Float)).collect::<Result<_, _>>()?)
}

fn names(values: &[String]) -> Vec<&str> {
    values.iter().map(String::as_str).collect()
}
