//! Hints: what the teacher computes on its way to the features, for the student to meet while it trains (Romero et al.,
//! *FitNets: hints for thin deep nets*, ICLR 2015).
//!
//! The features alone say little to a convolution far ahead of them. The outputs of the residual blocks that teacher and
//! student both have tell each stretch of the network where it went wrong. They count a lot at first and nothing in the end:
//! a student without a block has to make up for it somewhere, and must be free to compute something else on the way.

use std::collections::HashSet;

use tch::{Kind, Reduction, Tensor};

use crate::compress::CompressError;
use crate::compress::student::Student;
use crate::network::Network;
use crate::network::blocks::Block;

/// What all hints together count at the first step, as a multiple of the features.
const WEIGHT: f64 = 30.0;

/// Outputs of residual blocks that both networks have and that the student computes from the node at `first` on, short of
/// the features.
pub fn of(network: &Network, student: &Student, first: usize) -> Vec<String> {
    let behind: HashSet<&str> = student.graph.nodes[first..].iter().map(|node| node.output()).collect();
    let exits = network.blocks.iter().flat_map(Block::places).map(|place| &place.exit);
    exits.filter(|exit| behind.contains(exit.as_str()) && !student.taps.contains(exit)).cloned().collect()
}

/// What the hints count when the share `progress` (0–1) of the steps is done.
pub fn weight(progress: f64) -> f64 {
    WEIGHT * (1.0 - progress.clamp(0.0, 1.0)).powi(2)
}

/// The mean over the hints of their squared error relative to the teacher's values there; `None` without any.
pub fn loss(student: &[Tensor], teacher: &[Tensor]) -> Result<Option<Tensor>, CompressError> {
    if student.is_empty() {
        return Ok(None);
    }
    let errors = student.iter().zip(teacher).map(|(student, teacher)| student.f_mse_loss(teacher, Reduction::Mean));
    let scales = teacher.iter().map(|teacher| teacher.f_square()?.f_mean(Kind::Float));
    let errors = Tensor::f_stack(&errors.collect::<Result<Vec<_>, _>>()?, 0)?;
    let scales = Tensor::f_stack(&scales.collect::<Result<Vec<_>, _>>()?, 0)? + f64::from(f32::MIN_POSITIVE);
    Ok(Some((errors / scales).f_mean(Kind::Float)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_fade_out() {
        assert_eq!((weight(0.0), weight(0.5), weight(1.0), weight(2.0)), (WEIGHT, WEIGHT / 4.0, 0.0, 0.0));
    }

    #[test]
    fn every_hint_counts_by_its_own_scale() {
        let teacher = [Tensor::from_slice(&[2.0f32, 2.0]), Tensor::from_slice(&[200.0f32, 200.0])];
        let student = [Tensor::from_slice(&[1.0f32, 3.0]), Tensor::from_slice(&[100.0f32, 300.0])];
        let both = loss(&student, &teacher).expect("computes").expect("two hints").double_value(&[]);
        let one = loss(&student[..1], &teacher[..1]).expect("computes").expect("a hint").double_value(&[]);
        assert!((both - 0.25).abs() < 1e-6 && (one - 0.25).abs() < 1e-6, "{both} {one}");
        assert!(loss(&[], &[]).expect("computes").is_none());
    }
}
