//! About the nearest matrices with orthonormal rows (or columns), by a quintic Newton–Schulz iteration.

use indexmap::IndexMap;
use tch::{Kind, Tensor};

use crate::compress::CompressError;

/// Coefficients of the iteration, and how often it runs.
const QUINTIC: (f64, f64, f64) = (3.4445, -4.7750, 2.0315);
const ITERATIONS: usize = 5;

/// Norms below this count as zero.
const LEAST_NORM: f64 = 1e-30;

/// Of each matrix of these groups, (n, rows, columns) each: singular values between 0.7 and 1.2. A matrix of zeros stays one.
///
/// In float32 the iteration runs on small square matrices. In bfloat16 it does not: the errors of a product of five maps are ten
/// times those of five products with the matrix (cosine with float32: 0.986 and 0.9994 at worst, EfficientNet-Lite0).
pub(super) fn orthogonal(groups: &[Tensor], narrow: bool) -> Result<Vec<Tensor>, CompressError> {
    let tall = |matrices: &Tensor| matrices.size()[1] > matrices.size()[2];
    let laid = |matrices: &Tensor| if tall(matrices) { matrices.transpose(1, 2) } else { matrices.shallow_clone() };
    let wide = groups.iter().map(|matrices| of_norm_one(&laid(matrices))).collect::<Result<Vec<_>, _>>()?;
    let found = match narrow {
        true => wide.iter().map(in_bfloat16).collect::<Result<Vec<_>, _>>()?,
        false => by_small_squares(&wide)?,
    };
    Ok(groups
        .iter()
        .zip(&found)
        .map(|(matrices, x)| if tall(matrices) { x.transpose(1, 2) } else { x.shallow_clone() })
        .collect())
}

fn of_norm_one(matrices: &Tensor) -> Result<Tensor, CompressError> {
    let norms = matrices.f_norm_scalaropt_dim(2.0, [1i64, 2].as_slice(), true)?.f_clamp_min(LEAST_NORM)?;
    Ok(matrices / norms)
}

/// Each iteration is `X ← P(XXᵀ)·X` with a polynomial P. The maps `P` commute with every `XXᵀ`, so they are followed as small
/// square matrices, and the long side is met twice in all: for the first `XXᵀ` and for the product of the maps with `X`. Groups
/// whose matrices have short sides alike are followed together.
fn by_small_squares(groups: &[Tensor]) -> Result<Vec<Tensor>, CompressError> {
    let mut alike: IndexMap<i64, Vec<usize>> = IndexMap::new();
    for (at, x) in groups.iter().enumerate() {
        alike.entry(x.size()[1]).or_default().push(at);
    }
    let mut found: Vec<Tensor> = groups.iter().map(Tensor::shallow_clone).collect();
    for members in alike.values() {
        let gram = |at: &usize| groups[*at].f_bmm(&groups[*at].transpose(1, 2));
        let grams = Tensor::f_cat(&members.iter().map(gram).collect::<Result<Vec<_>, _>>()?, 0)?;
        let counts: Vec<i64> = members.iter().map(|at| groups[*at].size()[0]).collect();
        for (at, maps) in members.iter().zip(maps(grams)?.f_split_with_sizes(counts.as_slice(), 0)?) {
            found[*at] = maps.f_bmm(&groups[*at])?;
        }
    }
    Ok(found)
}

/// The products of all maps that start from these `XXᵀ`.
fn maps(mut gram: Tensor) -> Result<Tensor, CompressError> {
    let mut map = quintic(&gram)?;
    let mut product = map.shallow_clone();
    for _ in 1..ITERATIONS {
        gram = map.f_bmm(&gram)?.f_bmm(&map)?;
        map = quintic(&gram)?;
        product = map.f_bmm(&product)?;
    }
    Ok(product)
}

/// `a + b·G + c·G²` of square matrices.
fn quintic(gram: &Tensor) -> Result<Tensor, CompressError> {
    let (a, b, c) = QUINTIC;
    let map = gram.f_baddbmm(gram, gram, b, c)?;
    let _ = map.f_diagonal(0, 1, 2)?.f_add_scalar_(a)?;
    Ok(map)
}

/// The same iteration on the matrices themselves, multiplied in bfloat16.
fn in_bfloat16(x: &Tensor) -> Result<Tensor, CompressError> {
    let (a, b, c) = QUINTIC;
    let mut x = x.f_to_kind(Kind::BFloat16)?;
    for _ in 0..ITERATIONS {
        let gram = x.f_bmm(&x.transpose(1, 2))?;
        let map = gram.f_baddbmm(&gram, &gram, b, c)?;
        x = x.f_baddbmm(&map, &x, a, 1.0)?;
    }
    Ok(x.f_to_kind(Kind::Float)?)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    fn alone(matrices: &Tensor, narrow: bool) -> Tensor {
        orthogonal(&[matrices.shallow_clone()], narrow).expect("iterates").swap_remove(0)
    }

    fn random(size: [i64; 3]) -> Tensor {
        Tensor::randn(size, (Kind::Float, Device::Cpu))
    }

    #[test]
    fn the_orthogonal_factors_have_singular_values_around_one() {
        tch::manual_seed(3);
        for size in [[3, 8, 40], [2, 40, 8], [1, 16, 16]] {
            let (_, values, _) = alone(&random(size), false).svd(true, true);
            let (least, most) = (values.min().double_value(&[]), values.max().double_value(&[]));
            assert!(least > 0.3 && most < 1.4, "{size:?}: {least} to {most}");
        }
    }

    #[test]
    fn each_matrix_of_a_batch_is_followed_by_itself() {
        tch::manual_seed(5);
        let batch = random([4, 12, 30]) * Tensor::from_slice(&[1.0f32, 1e-3, 1e3, 0.0]).view([4, 1, 1]);
        let all = alone(&batch, false);
        for at in 0..4 {
            let one = alone(&batch.narrow(0, at, 1), false);
            assert!(all.narrow(0, at, 1).allclose(&one, 1e-4, 1e-5, false), "matrix {at}");
        }
        assert_eq!(all.get(3).abs().max().double_value(&[]), 0.0, "zeros stay zeros");
    }

    #[test]
    fn groups_with_short_sides_alike_are_followed_as_each_alone() {
        tch::manual_seed(6);
        let groups = [[2, 8, 40], [3, 8, 8], [1, 20, 8], [2, 5, 9]].map(random);
        let together = orthogonal(&groups, false).expect("iterates");
        for (group, found) in groups.iter().zip(&together) {
            assert_eq!(found.size(), group.size());
            assert!(found.allclose(&alone(group, false), 1e-4, 1e-5, false), "{:?}", group.size());
        }
    }

    #[test]
    fn in_bfloat16_the_factors_point_where_those_in_float32_do() {
        tch::manual_seed(7);
        // Singular values that fall as those of gradients do, and some that do not.
        for (rows, columns, decay) in [(16, 144, 0.0), (64, 576, 0.1), (96, 24, 0.05), (128, 512, 0.02)] {
            let rank = rows.min(columns);
            let fall = (Tensor::arange(rank, (Kind::Float, Device::Cpu)) * -decay).exp();
            let batch = random([2, rows, rank]) * fall.view([1, 1, -1]);
            let batch = batch.bmm(&random([2, rank, columns]));
            let exact = alone(&batch, false).flatten(1, -1);
            let narrow = alone(&batch, true).flatten(1, -1);
            let cosine = Tensor::cosine_similarity(&exact, &narrow, 1, 1e-12).min().double_value(&[]);
            assert!(cosine > 0.99, "{rows} × {columns}: {cosine}");
        }
    }
}
