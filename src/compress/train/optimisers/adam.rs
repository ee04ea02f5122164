//! Adam for one tensor.
//!
//! Source: Kingma and Ba, *Adam: A Method for Stochastic Optimization* (2015), algorithm 1.

use tch::Tensor;

use crate::compress::CompressError;

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

    /// Sets the number of steps taken so far; the caller restores the moments.
    pub fn went(&mut self, steps: i64) {
        self.step = i32::try_from(steps).unwrap_or(i32::MAX);
    }

    /// Moves the tensor against this gradient, by about `rate` in every element.
    pub fn step(&mut self, tensor: &mut Tensor, gradient: &Tensor, rate: f64) -> Result<(), CompressError> {
        let (kept, kept_of_squares) = self.decays;
        self.step += 1;
        self.first = &self.first * kept + gradient * (1.0 - kept);
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
    use super::*;

    #[test]
    fn two_steps_match_the_formula() {
        let mut x = Tensor::from_slice(&[1.0f64]).set_requires_grad(true);
        let mut adam = Adam::new(&x, (0.9, 0.999));
        // The first step is the rate itself, whatever the gradient.
        let gradient = |x: &Tensor| x.detach() * 2.0;
        let first = gradient(&x);
        adam.step(&mut x, &first, 0.1).expect("steps");
        assert!((x.double_value(&[0]) - 0.9).abs() < 1e-6, "{x:?}");
        let second = gradient(&x);
        adam.step(&mut x, &second, 0.1).expect("steps");
        let mean = (0.9 * 0.1 * 2.0 + 0.1 * 1.8) / (1.0 - 0.81f64);
        let root = ((0.999 * 0.001 * 4.0 + 0.001 * 3.24) / (1.0 - 0.998_001f64)).sqrt();
        assert!((x.double_value(&[0]) - (0.9 - 0.1 * mean / root)).abs() < 1e-6, "{x:?}");
    }
}
