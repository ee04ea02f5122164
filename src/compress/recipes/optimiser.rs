//! The optimiser of our recipe: relative Muon or, to measure its effect, the paper's SGD.

use tch::Tensor;

use crate::compress::CompressError;
use crate::compress::train::checkpoint::Tensors;
use crate::compress::train::optimisers::muon::Muon;
use crate::compress::train::optimisers::sgd::Sgd;
use crate::spec::config::{FinetuneConfig, Part};

/// The optimiser.
pub(super) enum Optimiser {
    /// Ours.
    Muon(Muon),
    /// The paper's, for comparison.
    Sgd(Sgd),
}

/// Learning rate of SGD relative to ours: the paper's is twice our first one.
const SGD_RATE: f64 = 2.0;

impl Optimiser {
    /// For weights that ask for gradients; `narrow` if steps are in bfloat16 on a GPU.
    pub(super) fn new(config: &FinetuneConfig, weights: Vec<Tensor>, narrow: bool) -> Result<Self, CompressError> {
        Ok(match config.has(Part::Optimiser) {
            true => Self::Muon(Muon::new(weights, narrow)?),
            false => Self::Sgd(Sgd::new(weights)),
        })
    }

    /// Its state.
    pub(super) fn state(&self) -> Result<Vec<Tensor>, CompressError> {
        match self {
            Self::Muon(muon) => muon.state(),
            Self::Sgd(sgd) => Ok(sgd.state()),
        }
    }

    /// Restores a state. False if it belongs to other weights.
    pub(super) fn restore(&mut self, kept: &mut Tensors) -> Result<bool, CompressError> {
        match self {
            Self::Muon(muon) => muon.restore(kept),
            Self::Sgd(sgd) => sgd.restore(kept),
        }
    }

    /// Has the gradients of its weights computed, and moves every weight.
    pub(super) fn step(
        &mut self,
        gradients: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>, CompressError>,
        rate: f64,
    ) -> Result<(), CompressError> {
        match self {
            Self::Muon(muon) => muon.step(gradients, rate),
            Self::Sgd(sgd) => sgd.step_by(gradients, SGD_RATE * rate),
        }
    }
}
