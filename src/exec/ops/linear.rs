//! Gemm, MatMul and Einsum.

use tch::Tensor;

use super::super::kernel::{Built, Spec, one, refuse};

/// `alpha · A' · B' + beta · C`.
pub(super) fn gemm(spec: &Spec) -> Built {
    let attrs = &spec.node.attrs;
    let (alpha, beta) = (spec.float("alpha", 1.0), spec.float("beta", 1.0));
    let (flip_a, flip_b) = (attrs.int("transA", 0) != 0, attrs.int("transB", 0) != 0);
    let flipped = |tensor: &Tensor, flip: bool| {
        if flip { tensor.f_transpose(0, 1) } else { Ok(tensor.shallow_clone()) }
    };
    one(move |call| {
        let (a, b, c) = (flipped(call.tensor(0)?, flip_a)?, call.tensor(1)?, call.optional(2));
        let by_row = c.is_none_or(|c| c.dim() == 1 && c.size().first() == b.size().get(usize::from(!flip_b)));
        if alpha == 1.0 && beta == 1.0 && by_row && a.dim() == 2 {
            return Ok(a.f_linear(&flipped(b, !flip_b)?, c)?);
        }
        let product = a.f_matmul(&flipped(b, flip_b)?)?;
        let scaled = if alpha == 1.0 { product } else { product.f_mul_scalar(alpha)? };
        match c {
            Some(c) if beta == 1.0 => Ok(scaled.f_add(c)?),
            Some(c) => Ok(scaled.f_add(&c.f_mul_scalar(beta)?)?),
            None => Ok(scaled),
        }
    })
}

pub(super) fn matmul(_: &Spec) -> Built {
    one(|call| Ok(call.tensor(0)?.f_matmul(call.tensor(1)?)?))
}

/// Torch and ONNX write the equation alike, but for blanks.
pub(super) fn einsum(spec: &Spec) -> Built {
    let equation: String = spec.node.attrs.string("equation", "").split_whitespace().collect();
    if equation.is_empty() {
        return refuse("equation is missing");
    }
    one(move |call| Ok(Tensor::f_einsum(&equation, &call.present(), None::<&[i64]>)?))
}
