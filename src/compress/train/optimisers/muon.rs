//! Relative Muon (docs/method.md §6.4): each kernel moves along the nearest orthogonal matrix of its momentum, by a share
//! of its own norm. All directions of a kernel recover at one pace, where SGD spends its steps on the few that matter most,
//! and one learning rate fits kernels of any scale. Scales and shifts move by Adam.
//!
//! Source: Jordan et al., *Muon: an optimizer for hidden layers in neural networks* (2024), for the orthogonalisation.

use tch::Tensor;

use super::adam::Adam;
use crate::compress::CompressError;
use crate::compress::train::checkpoint::Tensors;

const MOMENTUM: f64 = 0.9;

/// Coefficients of the quintic Newton–Schulz iteration, and how often it runs.
const QUINTIC: (f64, f64, f64) = (3.4445, -4.7750, 2.0315);
const ITERATIONS: usize = 5;

/// Adam's learning rate as a share of Muon's, and its decays.
const ADAM_SHARE: f64 = 0.5;
const DECAYS: (f64, f64) = (0.9, 0.999);

/// The optimiser and the tensors it moves.
pub struct Muon {
    parameters: Vec<Tensor>,
    states: Vec<State>,
}

enum State {
    /// Momentum of a kernel.
    Kernel(Tensor),
    /// Of a scale or shift.
    Vector(Adam),
}

impl Muon {
    /// For tensors that ask for gradients: kernels (two dimensions and more) and vectors.
    pub fn new(parameters: Vec<Tensor>) -> Self {
        let state = |tensor: &Tensor| match tensor.dim() {
            0 | 1 => State::Vector(Adam::new(tensor, DECAYS)),
            _ => State::Kernel(tensor.detach().zeros_like()),
        };
        Self { states: parameters.iter().map(state).collect(), parameters }
    }

    /// Its state.
    pub fn state(&self) -> Vec<Tensor> {
        let of = |state: &State| match state {
            State::Kernel(momentum) => vec![momentum.shallow_clone()],
            State::Vector(adam) => adam.state().into(),
        };
        self.states.iter().flat_map(of).collect()
    }

    /// Restores a state. False if it belongs to other tensors.
    pub fn restore(&mut self, kept: &mut Tensors) -> Result<bool, CompressError> {
        for state in &mut self.states {
            let restored = match state {
                State::Kernel(momentum) => kept.restore(momentum)?,
                State::Vector(adam) => adam.restore(kept)?,
            };
            if !restored {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Forgets the last gradients, has the next ones computed, and moves every tensor.
    pub fn step(
        &mut self,
        gradients: impl FnOnce() -> Result<(), CompressError>,
        rate: f64,
    ) -> Result<(), CompressError> {
        self.parameters.iter_mut().for_each(Tensor::zero_grad);
        gradients()?;
        tch::no_grad(|| {
            let all = self.parameters.iter_mut().zip(&mut self.states);
            all.filter(|(tensor, _)| tensor.grad().defined()).try_for_each(|(tensor, state)| match state {
                State::Kernel(momentum) => move_kernel(tensor, momentum, rate),
                State::Vector(adam) => adam.step(tensor, rate * ADAM_SHARE),
            })
        })
    }
}

/// `m = 0.9 m + g`, `u = orthogonal(g + 0.9 m)`, `W -= rate · ‖W‖ · u / ‖u‖`.
fn move_kernel(weight: &mut Tensor, momentum: &mut Tensor, rate: f64) -> Result<(), CompressError> {
    let gradient = weight.grad();
    *momentum = &*momentum * MOMENTUM + &gradient;
    let ahead = (gradient + &*momentum * MOMENTUM).f_flatten(1, -1)?;
    let direction = match weight.size()[1] {
        // A depthwise kernel is no matrix over channels: each row stands for itself.
        1 => &ahead / (ahead.f_norm_scalaropt_dim(2.0, [1], true)? + f64::from(f32::MIN_POSITIVE)),
        _ => orthogonal(&ahead)?,
    };
    let length = weight.f_norm()? * rate / (direction.f_norm()? + f64::from(f32::MIN_POSITIVE));
    let _ = weight.f_sub_(&(direction * length).f_reshape(weight.size())?)?;
    Ok(())
}

/// About the nearest matrix with orthonormal rows (or columns): singular values between 0.7 and 1.2.
///
/// Each iteration is `X ← P(XXᵀ)·X` with a polynomial P. The maps `P` commute with every `XXᵀ`, so they are followed as small
/// square matrices, and the long side is met twice in all: for the first `XXᵀ` and for the product of the maps with `X`.
fn orthogonal(matrix: &Tensor) -> Result<Tensor, CompressError> {
    let tall = matrix.size()[0] > matrix.size()[1];
    let x = if tall { matrix.tr() } else { matrix.shallow_clone() };
    let x = &x / (x.f_norm()? + f64::from(f32::MIN_POSITIVE));
    let mut gram = x.f_matmul(&x.tr())?;
    let mut map = quintic(&gram)?;
    let mut product = map.shallow_clone();
    for _ in 1..ITERATIONS {
        gram = map.f_matmul(&gram)?.f_matmul(&map)?;
        map = quintic(&gram)?;
        product = map.f_matmul(&product)?;
    }
    let x = product.f_matmul(&x)?;
    Ok(if tall { x.tr() } else { x })
}

/// `a + b·G + c·G²` of a square matrix.
fn quintic(gram: &Tensor) -> Result<Tensor, CompressError> {
    let (a, b, c) = QUINTIC;
    let map = gram * b + gram.f_matmul(gram)? * c;
    let _ = map.f_diagonal(0, 0, 1)?.f_add_scalar_(a)?;
    Ok(map)
}

/// The rate when the share `progress` (0–1) of the steps is done, after `step` steps: five steps of warm-up, then a cosine
/// to 0.
pub fn rate(peak: f64, step: u32, progress: f64) -> f64 {
    let warm = (f64::from(step + 1) / 5.0).min(1.0);
    peak * warm * 0.5 * (1.0 + (std::f64::consts::PI * progress.clamp(0.0, 1.0)).cos())
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn the_orthogonal_factor_has_singular_values_around_one() {
        tch::manual_seed(3);
        for size in [[8, 40], [40, 8]] {
            let matrix = Tensor::randn(size, (Kind::Float, Device::Cpu));
            let (_, values, _) = orthogonal(&matrix).expect("iterates").svd(true, true);
            let (least, most) = (values.min().double_value(&[]), values.max().double_value(&[]));
            assert!(least > 0.3 && most < 1.4, "{size:?}: {least} to {most}");
        }
    }

    #[test]
    fn a_kernel_moves_by_the_rate_times_its_own_norm_downhill() {
        let start = Tensor::from_slice(&[3.0f32, -4.0, 1.0, 2.0]).view([2, 2, 1, 1]);
        let weight = start.copy().set_requires_grad(true);
        let loss = || weight.square().sum(Kind::Float);
        let before = loss().double_value(&[]);
        Muon::new(vec![weight.shallow_clone()]).step(|| Ok(loss().f_backward()?), 0.01).expect("steps");
        let moved = (weight.detach() - &start).norm().double_value(&[]) / start.norm().double_value(&[]);
        assert!((moved - 0.01).abs() < 1e-5, "{moved}");
        assert!(loss().double_value(&[]) < before);
    }

    #[test]
    fn a_vector_moves_as_adam_moves_it() {
        let vector = Tensor::from_slice(&[1.0f32, -2.0]).set_requires_grad(true);
        let gradients = || Ok(vector.square().sum(Kind::Float).f_backward()?);
        Muon::new(vec![vector.shallow_clone()]).step(gradients, 0.01).expect("steps");
        // Adam's first step is the rate along the gradient's sign.
        assert!((vector.double_value(&[0]) - 0.995).abs() < 1e-5 && (vector.double_value(&[1]) + 1.995).abs() < 1e-5);
    }

    #[test]
    fn the_rate_warms_up_and_falls_to_nothing() {
        assert!((rate(0.01, 0, 0.0) - 0.002).abs() < 1e-12);
        assert!((rate(0.01, 50, 0.5) - 0.005).abs() < 1e-12);
        assert!(rate(0.01, 99, 1.0).abs() < 1e-12);
    }
}
