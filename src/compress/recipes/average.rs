//! The mean of the weights over some steps: about where a run would end if its learning rate fell now.
//!
//! At a high learning rate the weights circle around a place that is better than any they visit. By the current weights, a rate
//! that will end lowest looks worse than one that hardly moves; by their mean, it does not.

use crate::compress::CompressError;
use crate::exec::Params;

/// The mean of the weights added so far.
pub(super) struct Average {
    params: Params,
    added: u32,
}

impl Average {
    /// Of these weights alone.
    pub(super) fn of(params: &Params) -> Result<Self, CompressError> {
        Ok(Self { params: params.deep_copy()?, added: 1 })
    }

    /// Adds weights of the same names and shapes; those that ask for no gradients have not moved.
    pub(super) fn add(&mut self, params: &Params) -> Result<(), CompressError> {
        self.added += 1;
        let share = 1.0 / f64::from(self.added);
        tch::no_grad(|| {
            params.names().try_for_each(|name| {
                let (Some(mean), Some(tensor)) = (self.params.get(name), params.get(name)) else { return Ok(()) };
                if !tensor.requires_grad() {
                    return Ok(());
                }
                let _ = mean.shallow_clone().f_lerp_(&tensor.detach(), share)?;
                Ok(())
            })
        })
    }

    /// The mean so far, and of how many.
    pub(super) fn so_far(&self) -> (&Params, u32) {
        (&self.params, self.added)
    }

    /// Resumes from the mean of so many weights.
    pub(super) fn going_on(params: Params, added: u32) -> Self {
        Self { params, added }
    }

    /// The mean.
    pub(super) fn into_params(self) -> Params {
        self.params
    }
}

#[cfg(test)]
mod tests {
    use tch::Tensor;

    use super::*;
    use crate::exec::Device;
    use crate::graph::Graph;

    #[test]
    fn three_weights_average_to_their_mean() {
        let with = |value: f32| {
            let mut params = Params::from_graph(&Graph::default(), Device::Cpu).expect("no weights yet");
            params.set("w", Tensor::from_slice(&[value, 2.0 * value]).set_requires_grad(true));
            params
        };
        let first = with(1.0);
        let mut average = Average::of(&first).expect("copies");
        [2.0, 6.0].into_iter().for_each(|value| average.add(&with(value)).expect("adds"));
        let params = average.into_params();
        let mean = params.get("w").expect("averaged");
        assert!(mean.allclose(&Tensor::from_slice(&[3.0f32, 6.0]), 1e-6, 1e-6, false), "{mean:?}");
        assert_eq!(first.get("w").expect("kept").double_value(&[0]), 1.0, "the weights that it began with stay");
    }
}
