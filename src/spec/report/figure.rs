//! Measured figures with their 95 % intervals.

use serde::{Deserialize, Serialize};

use crate::spec::latency::Reduction;
use crate::statistics;

/// A figure with its 95 % interval, where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The estimate.
    pub value: f64,
    /// Lower end of the 95 % interval.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub low: Option<f64>,
    /// Upper end of the 95 % interval.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub high: Option<f64>,
}

impl Figure {
    /// A share of `n` independent images, with its Wilson interval.
    pub fn share(hits: usize, n: usize) -> Self {
        let (low, high) = statistics::wilson(hits, n);
        Self { value: hits as f64 / n as f64, low: Some(low), high: Some(high) }
    }
}

impl From<Reduction> for Figure {
    fn from(reduction: Reduction) -> Self {
        Self { value: reduction.value, low: Some(reduction.low), high: Some(reduction.high) }
    }
}

/// Mean squared error of the features on the fitted images and on the validation images.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// On the fitted images, at most 32 of them.
    pub fit: f64,
    /// On the held-out images; absent if there are too few images to hold any out.
    pub held_out: Option<f64>,
    /// 95 % interval, over images, of the one that selection uses; absent with a single image.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub interval: Option<Interval>,
    /// The one that selection uses as a share of the best constant answer's: 0 is the teacher, 1 is no better than a constant.
    /// Absent with a single image, and if the teacher is constant.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub share: Option<f64>,
}

impl Loss {
    /// The one that selection uses: the held-out loss if there is one.
    pub fn deciding(&self) -> f64 {
        self.held_out.unwrap_or(self.fit)
    }
}

/// Both ends of a 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// Of the mean of independent values, by Student's t; `None` for fewer than two.
    pub fn of_mean(values: &[f64]) -> Option<Self> {
        statistics::mean(values).map(|(mean, half)| Self { low: mean - half, high: mean + half })
    }
}
