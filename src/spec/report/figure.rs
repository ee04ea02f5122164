//! Figures with their intervals.

use serde::{Deserialize, Serialize};

use crate::spec::latency::Reduction;

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
        let (k, n) = (hits as f64, n as f64);
        let p = k / n;
        let z = 1.96_f64;
        let centre = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
        let half = z / (1.0 + z * z / n) * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
        Self { value: p, low: Some((centre - half).max(0.0)), high: Some((centre + half).min(1.0)) }
    }
}

impl From<Reduction> for Figure {
    fn from(reduction: Reduction) -> Self {
        Self { value: reduction.value, low: Some(reduction.low), high: Some(reduction.high) }
    }
}

/// A mean squared error on the images fitted on and on the ones only measured on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// On the images that were fitted on, up to 32 of them.
    pub fit: f64,
    /// On the images held out; absent where there are too few images to hold any out.
    pub held_out: Option<f64>,
    /// 95 % interval of the one that choices go by, over images; absent with a single image.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub interval: Option<Interval>,
    /// The one that choices go by as a share of what the best constant answer has: 0 is the teacher, 1 no better than always saying
    /// the same. Absent with a single image, and if the teacher itself always says the same.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub share: Option<f64>,
}

impl Loss {
    /// The one that choices go by: held-out where there is one.
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
        let n = values.len() as f64;
        if n < 2.0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let half = quantile_of_t(n - 1.0) * (variance / n).sqrt();
        Some(Self { low: mean - half, high: mean + half })
    }
}

/// The 97.5 % quantile of Student's t (Abramowitz & Stegun 26.7.5, three terms): within 0.4 % from 4 degrees of freedom on.
fn quantile_of_t(degrees: f64) -> f64 {
    let z = 1.959_964_f64;
    let (z3, z5, z7) = (z.powi(3), z.powi(5), z.powi(7));
    z + (z3 + z) / (4.0 * degrees)
        + (5.0 * z5 + 16.0 * z3 + 3.0 * z) / (96.0 * degrees.powi(2))
        + (3.0 * z7 + 19.0 * z5 + 17.0 * z3 - 15.0 * z) / (384.0 * degrees.powi(3))
}

#[cfg(test)]
mod tests {
    use super::{Figure, Interval};

    #[test]
    fn the_interval_of_a_mean_is_students() {
        // 1 … 9: mean 5, standard error √7.5 / 3, t(8) = 2.306.
        let values: Vec<f64> = (1..=9).map(f64::from).collect();
        let Interval { low, high } = Interval::of_mean(&values).expect("nine values");
        let half = 2.306 * 7.5_f64.sqrt() / 3.0;
        assert!((low - (5.0 - half)).abs() < 0.01 && (high - (5.0 + half)).abs() < 0.01, "{low} {high}");
        assert_eq!(Interval::of_mean(&[1.0]), None);
    }

    #[test]
    fn the_interval_of_a_share_holds_it_and_stays_within_zero_and_one() {
        for (hits, n) in [(0, 10), (5, 10), (10, 10), (941, 1000)] {
            let share = Figure::share(hits, n);
            let (low, high) = (share.low.expect("low"), share.high.expect("high"));
            assert!(0.0 <= low && low <= share.value && share.value <= high && high <= 1.0, "{share:?}");
        }
        let many = Figure::share(941, 1000);
        assert!((many.high.expect("high") - many.low.expect("low") - 0.0294).abs() < 0.001, "{many:?}");
    }
}
