//! Relative Muon (docs/method.md §6.4): each kernel moves along the nearest orthogonal matrix of its momentum, by a share
//! of its own norm. All directions of a kernel recover at one pace, where SGD spends its steps on the few that matter most,
//! and one learning rate fits kernels of any scale. Scales and shifts move by Adam.
//!
//! All kernels lie side by side in one tensor, those whose matrices have the same shape next to each other, and move together; so do
//! all scales and shifts. On a GPU a step then launches some dozens of operations, not some dozens for each kernel.
//!
//! Source: Jordan et al., *Muon: an optimizer for hidden layers in neural networks* (2024), for the orthogonalisation.

mod kernels;
mod orthogonal;
mod vectors;

use tch::Tensor;

use self::kernels::Kernels;
use self::vectors::Vectors;
use crate::compress::CompressError;
use crate::compress::train::checkpoint::Tensors;

/// Adam's learning rate as a share of Muon's.
const ADAM_SHARE: f64 = 0.5;

/// The optimiser and the tensors it moves.
pub struct Muon {
    parameters: Vec<Tensor>,
    /// `None` if there are vectors only.
    kernels: Option<Kernels>,
    /// `None` if there are kernels only.
    vectors: Option<Vectors>,
}

impl Muon {
    /// For float32 tensors that ask for gradients: kernels (two dimensions and more) and vectors. From here on they are parts of
    /// larger tensors, with the same values.
    ///
    /// `narrow` is for steps in bfloat16 on a GPU: directions are found in bfloat16, and kernels lie with the channels of a
    /// position side by side, which is what convolutions in bfloat16 take there.
    pub fn new(mut parameters: Vec<Tensor>, narrow: bool) -> Result<Self, CompressError> {
        let kernels = Kernels::gather(&mut parameters, narrow)?;
        let vectors = Vectors::gather(&mut parameters)?;
        Ok(Self { parameters, kernels, vectors })
    }

    /// What it remembers, tensor by tensor: a kernel's momentum; of a vector the two moments and the number of steps.
    pub fn state(&self) -> Result<Vec<Tensor>, CompressError> {
        Ok(self.state_of_each()?.into_iter().flatten().collect())
    }

    /// Remembers what another one did. False where that was one for other tensors.
    pub fn restore(&mut self, kept: &mut Tensors) -> Result<bool, CompressError> {
        for state in self.state_of_each()? {
            if !kept.restore_all(&state)? {
                return Ok(false);
            }
            if let (Some(vectors), [_, _, steps]) = (&mut self.vectors, state.as_slice()) {
                vectors.went(steps.f_int64_value(&[])?);
            }
        }
        Ok(true)
    }

    fn state_of_each(&self) -> Result<Vec<Vec<Tensor>>, CompressError> {
        let mut states = Vec::new();
        if let Some(kernels) = &self.kernels {
            states.extend(kernels.state()?);
        }
        if let Some(vectors) = &self.vectors {
            states.extend(vectors.state()?);
        }
        states.sort_by_key(|(at, _)| *at);
        Ok(states.into_iter().map(|(_, state)| state).collect())
    }

    /// Has the gradients of its tensors computed, and moves every tensor. Those that come undefined are taken for zero.
    pub fn step(
        &mut self,
        gradients: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>, CompressError>,
        rate: f64,
    ) -> Result<(), CompressError> {
        let gradients = gradients(&self.parameters)?;
        tch::no_grad(|| {
            let defined = |(gradient, tensor): (Tensor, &Tensor)| {
                if gradient.defined() { Ok(gradient) } else { tensor.f_zeros_like() }
            };
            let gradients = gradients.into_iter().zip(&self.parameters).map(defined);
            let gradients = gradients.collect::<Result<Vec<_>, _>>()?;
            self.kernels.iter_mut().try_for_each(|kernels| kernels.step(&gradients, rate))?;
            self.vectors.iter_mut().try_for_each(|vectors| vectors.step(&gradients, rate * ADAM_SHARE))
        })
    }
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

    fn random(size: &[i64]) -> Tensor {
        Tensor::randn(size, (Kind::Float, Device::Cpu))
    }

    fn leaves(values: &[Tensor]) -> Vec<Tensor> {
        values.iter().map(|value| value.copy().set_requires_grad(true)).collect()
    }

    #[test]
    fn a_kernel_moves_by_the_rate_times_its_own_norm_downhill() {
        let start = Tensor::from_slice(&[3.0f32, -4.0, 1.0, 2.0]).view([2, 2, 1, 1]);
        let weight = start.copy().set_requires_grad(true);
        let loss = || weight.square().sum(Kind::Float);
        let before = loss().double_value(&[]);
        let gradients = |of: &[Tensor]| Ok(Tensor::run_backward(&[loss()], of, false, false));
        Muon::new(vec![weight.shallow_clone()], false).expect("gathers").step(gradients, 0.01).expect("steps");
        let moved = (weight.detach() - &start).norm().double_value(&[]) / start.norm().double_value(&[]);
        assert!((moved - 0.01).abs() < 1e-5, "{moved}");
        assert!(loss().double_value(&[]) < before);
    }

    #[test]
    fn a_vector_moves_as_adam_moves_it() {
        let vector = Tensor::from_slice(&[1.0f32, -2.0]).set_requires_grad(true);
        let gradients = |_: &[Tensor]| Ok(vec![vector.detach() * 2.0]);
        Muon::new(vec![vector.shallow_clone()], false).expect("gathers").step(gradients, 0.01).expect("steps");
        // Adam's first step is the rate along the gradient's sign.
        assert!((vector.double_value(&[0]) - 0.995).abs() < 1e-5 && (vector.double_value(&[1]) + 1.995).abs() < 1e-5);
    }

    /// Kernels of the same and of other shapes, wide, tall, depthwise, of a linear layer and of one dimension, and vectors.
    fn many() -> Vec<Tensor> {
        tch::manual_seed(4);
        let sizes: [&[i64]; 10] = [
            &[8, 4, 3, 3],
            &[4],
            &[8, 4, 3, 3],
            &[4, 36, 1, 1],
            &[6, 1, 3, 3],
            &[7],
            &[20, 5],
            &[8, 36],
            &[5, 2, 3],
            &[],
        ];
        sizes.map(random).into()
    }

    #[test]
    fn together_tensors_move_as_each_alone_in_either_layout() {
        let start = many();
        let gradients: Vec<Vec<Tensor>> =
            (0..3).map(|_| start.iter().map(|tensor| tensor.randn_like()).collect()).collect();
        for channels_last in [false, true] {
            let together = leaves(&start);
            let all = together.iter().map(Tensor::shallow_clone).collect::<Vec<_>>();
            let mut optimiser = Muon {
                kernels: Kernels::gather(&mut all.iter().map(Tensor::shallow_clone).collect::<Vec<_>>(), channels_last)
                    .expect("gathers")
                    .map(Kernels::in_float32),
                vectors: Vectors::gather(&mut all.iter().map(Tensor::shallow_clone).collect::<Vec<_>>())
                    .expect("gathers"),
                parameters: all,
            };
            for gradients in &gradients {
                let gradients = gradients.iter().map(Tensor::shallow_clone).collect();
                optimiser.step(|_| Ok(gradients), 0.01).expect("steps");
            }
            for (at, moved) in together.iter().enumerate() {
                let alone = leaves(&start[at..=at]);
                let mut optimiser =
                    Muon::new(alone.iter().map(Tensor::shallow_clone).collect(), false).expect("gathers");
                for gradients in &gradients {
                    optimiser.step(|_| Ok(vec![gradients[at].shallow_clone()]), 0.01).expect("steps");
                }
                assert_eq!(moved.size(), start[at].size());
                assert!(!moved.equal(&start[at]), "tensor {at} moves");
                assert!(moved.allclose(&alone[0], 1e-5, 1e-6, false), "tensor {at}, channels last: {channels_last}");
            }
        }
    }

    #[test]
    fn what_it_remembers_goes_on_in_another_one() {
        let start = many();
        let gradients: Vec<Tensor> = start.iter().map(|tensor| tensor.randn_like()).collect();
        let step = |optimiser: &mut Muon| {
            let gradients = gradients.iter().map(Tensor::shallow_clone).collect();
            optimiser.step(|_| Ok(gradients), 0.01).expect("steps");
        };
        let first = leaves(&start);
        let mut optimiser = Muon::new(first.iter().map(Tensor::shallow_clone).collect(), false).expect("gathers");
        step(&mut optimiser);
        let second = leaves(&first.iter().map(Tensor::detach).collect::<Vec<_>>());
        let mut other = Muon::new(second.iter().map(Tensor::shallow_clone).collect(), false).expect("gathers");
        let state = optimiser.state().expect("a state");
        assert!(other.restore(&mut Tensors::from_iter(state.iter().map(Tensor::copy))).expect("restores"));
        step(&mut optimiser);
        step(&mut other);
        assert!(first.iter().zip(&second).all(|(one, other)| one.equal(other)));
        let fewer = state.iter().skip(1).map(Tensor::copy);
        assert!(!other.restore(&mut Tensors::from_iter(fewer)).expect("an answer"), "another one's state");
    }

    #[test]
    fn without_gradients_nothing_moves() {
        let start: Vec<Tensor> = many().iter().map(|tensor| tensor * 1e6).collect();
        let moving = leaves(&start);
        let mut optimiser = Muon::new(moving.iter().map(Tensor::shallow_clone).collect(), false).expect("gathers");
        optimiser.step(|of| Ok(of.iter().map(|_| Tensor::new()).collect()), 0.01).expect("steps");
        optimiser.step(|of| Ok(of.iter().map(Tensor::zeros_like).collect()), 0.01).expect("steps");
        assert!(moving.iter().zip(&start).all(|(moving, start)| moving.equal(start)));
    }

    #[test]
    fn the_rate_warms_up_and_falls_to_nothing() {
        assert!((rate(0.01, 0, 0.0) - 0.002).abs() < 1e-12);
        assert!((rate(0.01, 50, 0.5) - 0.005).abs() < 1e-12);
        assert!(rate(0.01, 99, 1.0).abs() < 1e-12);
    }
}
