//! Stochastic gradient descent with momentum and weight decay, as `torch.optim.SGD`, and the paper's schedule.

use tch::Tensor;

use crate::compress::CompressError;
use crate::compress::train::checkpoint::Tensors;

/// Learning rate, momentum and weight decay of the paper's code, for adapters and fine-tuning alike.
const LEARNING_RATE: f64 = 0.02;
const MOMENTUM: f64 = 0.9;
const WEIGHT_DECAY: f64 = 1e-4;

/// The optimiser and the tensors it moves.
pub struct Sgd {
    parameters: Vec<Tensor>,
    velocity: Vec<Option<Tensor>>,
}

impl Sgd {
    /// For tensors that ask for gradients.
    pub fn new(parameters: Vec<Tensor>) -> Self {
        let velocity = parameters.iter().map(|_| None).collect();
        Self { parameters, velocity }
    }

    /// What it remembers: of each tensor whether it has moved, and its velocity where it has.
    pub fn state(&self) -> Vec<Tensor> {
        let of = |velocity: &Option<Tensor>| {
            let moved = Tensor::from(i64::from(velocity.is_some()));
            std::iter::once(moved).chain(velocity.as_ref().map(Tensor::shallow_clone)).collect::<Vec<_>>()
        };
        self.velocity.iter().flat_map(of).collect()
    }

    /// Restores a state. False if it belongs to other tensors.
    pub fn restore(&mut self, kept: &mut Tensors) -> Result<bool, CompressError> {
        for (velocity, parameter) in self.velocity.iter_mut().zip(&self.parameters) {
            let moved = Tensor::from(0i64);
            let its = parameter.detach().zeros_like();
            if !kept.restore(&moved)? || moved.f_int64_value(&[])? == 1 && !kept.restore(&its)? {
                return Ok(false);
            }
            *velocity = (moved.f_int64_value(&[])? == 1).then_some(its);
        }
        Ok(true)
    }

    /// Computes the gradients of `loss` and moves every tensor: `v = 0.9 v + g + 1e-4 w`,
    /// `w -= rate · v`.
    pub fn step(&mut self, loss: &Tensor, rate: f64) -> Result<(), CompressError> {
        self.step_by(|parameters| Ok(Tensor::f_run_backward(&[loss], parameters, false, false)?), rate)
    }

    /// The same with gradients that are computed otherwise: one for each of the tensors handed over, undefined for those that
    /// the loss does not depend on.
    pub fn step_by(
        &mut self,
        gradients: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>, CompressError>,
        rate: f64,
    ) -> Result<(), CompressError> {
        let gradients = gradients(&self.parameters)?;
        let moved = self.parameters.iter_mut().zip(&gradients).zip(&mut self.velocity);
        tch::no_grad(|| {
            moved.into_iter().try_for_each(|((weight, gradient), velocity)| update(weight, gradient, velocity, rate))
        })
    }
}

fn update(
    weight: &mut Tensor,
    gradient: &Tensor,
    velocity: &mut Option<Tensor>,
    rate: f64,
) -> Result<(), CompressError> {
    if !gradient.defined() {
        return Ok(());
    }
    let step = gradient.f_add(&(&*weight * WEIGHT_DECAY))?;
    let moved = match velocity.take() {
        Some(last) => last * MOMENTUM + step,
        None => step,
    };
    let _ = weight.f_sub_(&(&moved * rate))?;
    *velocity = Some(moved);
    Ok(())
}

/// The paper's learning rate when the share `progress` (0–1) of the steps is done: ×0.1 at 40 % and again at 80 %.
pub fn learning_rate(progress: f64) -> f64 {
    match progress {
        p if p < 0.4 => LEARNING_RATE,
        p if p < 0.8 => LEARNING_RATE * 0.1,
        _ => LEARNING_RATE * 0.01,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_steps_match_the_formula() {
        let w = Tensor::from_slice(&[1.0f64]).set_requires_grad(true);
        let mut sgd = Sgd::new(vec![w.shallow_clone()]);
        // The gradient of w² is 2w. First step: v = 2 + 1e-4, w = 1 - 0.02 v.
        sgd.step(&w.square().sum(tch::Kind::Double), 0.02).expect("steps");
        let first = 1.0 - 0.02 * 2.0001;
        assert!((w.double_value(&[0]) - first).abs() < 1e-12);
        sgd.step(&w.square().sum(tch::Kind::Double), 0.02).expect("steps");
        let v = 0.9 * 2.0001 + 2.0 * first + 1e-4 * first;
        assert!((w.double_value(&[0]) - (first - 0.02 * v)).abs() < 1e-12);
    }

    #[test]
    fn the_rate_falls_twice() {
        assert_eq!([0.0, 0.39, 0.4, 0.79, 0.8].map(learning_rate), [0.02, 0.02, 0.002, 0.002, 0.0002]);
    }
}
