//! Adam for one tensor.
//!
//! Source: Kingma and Ba, *Adam: A Method for Stochastic Optimization* (2015), algorithm 1.

use tch::Tensor;

use crate::compress::CompressError;
use crate::compress::train::checkpoint::Tensors;

const EPSILON: f64 = 1e-8;

/// The moments of one tensor.
pub struct Adam {
    /// β₁ and β₂.
    decays: (f64, f64),
    first: Tensor,
    second: Tensor,
    step: i32,
}

impl Adam {
    /// For a tensor that asks for gradients.
    pub fn new(tensor: &Tensor, decays: (f64, f64)) -> Self {
        Self { decays, first: tensor.detach().zeros_like(), second: tensor.detach().zeros_like(), step: 0 }
    }

    /// What it remembers.
    pub fn state(&self) -> [Tensor; 3] {
        [self.first.shallow_clone(), self.second.shallow_clone(), Tensor::from(i64::from(self.step))]
    }

    /// Restores a state. False if it belongs to another tensor.
    pub fn restore(&mut self, state: &mut Tensors) -> Result<bool, CompressError> {
        let step = Tensor::from(0i64);
        let restored = state.restore_all([&self.first, &self.second, &step])?;
        self.step = i32::try_from(step.f_int64_value(&[])?).unwrap_or(i32::MAX);
        Ok(restored)
    }

    /// Moves the tensor against its gradient, by about `rate` in every element.
    pub fn step(&mut self, tensor: &mut Tensor, rate: f64) -> Result<(), CompressError> {
        let (gradient, (kept, kept_of_squares)) = (tensor.grad(), self.decays);
        self.step += 1;
        self.first = &self.first * kept + &gradient * (1.0 - kept);
        self.second = &self.second * kept_of_squares + gradient.f_square()? * (1.0 - kept_of_squares);
        let mean = &self.first / (1.0 - kept.powi(self.step));
        let root = (&self.second / (1.0 - kept_of_squares.powi(self.step))).f_sqrt()? + EPSILON;
        let moved = mean / root * rate;
        let _ = tch::no_grad(|| tensor.f_sub_(&moved))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    #[test]
    fn two_steps_match_the_formula() {
        let mut x = Tensor::from_slice(&[1.0f64]).set_requires_grad(true);
        let mut adam = Adam::new(&x, (0.9, 0.999));
        // The first step is the rate itself, whatever the gradient.
        x.square().sum(Kind::Double).backward();
        adam.step(&mut x, 0.1).expect("steps");
        assert!((x.double_value(&[0]) - 0.9).abs() < 1e-6, "{x:?}");
        x.zero_grad();
        x.square().sum(Kind::Double).backward();
        adam.step(&mut x, 0.1).expect("steps");
        let mean = (0.9 * 0.1 * 2.0 + 0.1 * 1.8) / (1.0 - 0.81f64);
        let root = ((0.999 * 0.001 * 4.0 + 0.001 * 3.24) / (1.0 - 0.998_001f64)).sqrt();
        assert!((x.double_value(&[0]) - (0.9 - 0.1 * mean / root)).abs() < 1e-6, "{x:?}");
    }
}
