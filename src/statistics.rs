//! Estimates and their 95 % intervals. Every part of the crate that reports one takes it from here.

/// The standard normal distribution's 97.5 % quantile.
const Z: f64 = 1.959_963_984_540_054;

/// 97.5 % quantiles of Student's t for 1 to 20 degrees of freedom.
#[rustfmt::skip]
const STUDENT_T: [f64; 20] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
];

/// The 97.5 % quantile of Student's t distribution with this many degrees of freedom, at least 1: half the width of a 95 % interval
/// in standard errors. Beyond the table by Abramowitz & Stegun 26.7.5, which is exact to four digits there.
pub fn student_t(degrees: usize) -> f64 {
    if let Some(quantile) = STUDENT_T.get(degrees.saturating_sub(1)) {
        return *quantile;
    }
    let n = degrees as f64;
    let (z3, z5, z7) = (Z.powi(3), Z.powi(5), Z.powi(7));
    Z + (z3 + Z) / (4.0 * n)
        + (5.0 * z5 + 16.0 * z3 + 3.0 * Z) / (96.0 * n.powi(2))
        + (3.0 * z7 + 19.0 * z5 + 17.0 * z3 - 15.0 * Z) / (384.0 * n.powi(3))
}

/// The mean of independent values and half the width of its 95 % interval by Student's t; `None` for fewer than two values.
pub fn mean(values: &[f64]) -> Option<(f64, f64)> {
    let degrees = values.len().checked_sub(1).filter(|degrees| *degrees > 0)?;
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / degrees as f64;
    Some((mean, student_t(degrees) * (variance / count).sqrt()))
}

/// Wilson's 95 % interval of the share of `hits` in `n` independent trials, `n` at least 1; both ends lie within 0 and 1.
pub fn wilson(hits: usize, n: usize) -> (f64, f64) {
    let n = n as f64;
    let p = hits as f64 / n;
    let scale = 1.0 + Z * Z / n;
    let centre = (p + Z * Z / (2.0 * n)) / scale;
    let half = Z / scale * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    // At both extremes rounding would leave the share itself outside.
    ((centre - half).clamp(0.0, p), (centre + half).clamp(p, 1.0))
}

/// The middle value of at least one, or the mean of the two middle ones; reorders its argument.
pub fn median(values: &mut [f64]) -> f64 {
    let odd = values.len() % 2 == 1;
    let (below, &mut upper, _) = values.select_nth_unstable_by(values.len() / 2, f64::total_cmp);
    if odd { upper } else { below.iter().copied().fold(f64::MIN, f64::max).midpoint(upper) }
}

/// The `q`-quantile of at least one sorted value, interpolated linearly between neighbours.
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q * (sorted.len() - 1) as f64;
    let (below, part) = (at.floor() as usize, at.fract());
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + part * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_students_t_are_those_of_published_tables() {
        for (degrees, published) in [(1, 12.706), (4, 2.776), (20, 2.086), (21, 2.080), (30, 2.042), (120, 1.980)] {
            assert!((student_t(degrees) - published).abs() < 6e-4, "{degrees}: {}", student_t(degrees));
        }
    }

    #[test]
    fn the_interval_of_a_mean_is_students() {
        // 1 … 9: mean 5, standard error √7.5 / 3, t(8) = 2.306.
        let values: Vec<f64> = (1..=9).map(f64::from).collect();
        let (mean, half) = super::mean(&values).expect("nine values");
        assert!((mean - 5.0).abs() < 1e-12 && (half - 2.306 * 7.5_f64.sqrt() / 3.0).abs() < 1e-9, "{mean} {half}");
        assert_eq!(super::mean(&[1.0]), None);
        assert_eq!(super::mean(&[]), None);
    }

    #[test]
    fn wilsons_interval_holds_the_share_and_stays_within_zero_and_one() {
        for (hits, n) in [(0, 10), (5, 10), (10, 10), (941, 1000)] {
            let ((low, high), share) = (wilson(hits, n), hits as f64 / n as f64);
            assert!(0.0 <= low && low <= share && share <= high && high <= 1.0, "{share}: {low} {high}");
        }
        // Agresti & Coull (1998): 0 of 10 gives 0 to 0.278.
        assert!((wilson(0, 10).1 - 0.278).abs() < 1e-3, "{:?}", wilson(0, 10));
    }

    #[test]
    fn medians_and_quantiles_lie_between_neighbours() {
        assert_eq!((median(&mut [3.0, 1.0, 2.0]), median(&mut [4.0, 1.0, 2.0, 3.0])), (2.0, 2.5));
        assert_eq!((quantile(&[1.0, 2.0, 3.0], 0.25), quantile(&[7.0], 0.9)), (1.5, 7.0));
    }
}
