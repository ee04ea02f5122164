//! Gemm and MatMul (ONNX operators, opsets 7–13).

use super::super::context::{Context, Outputs, show};
use super::super::dims;

/// A (M, K) or transposed, B (K, N) or transposed, optional C that broadcasts to (M, N).
pub(super) fn gemm(c: &Context) -> Outputs {
    let (Some(a), Some(b)) = (c.shape(0), c.shape(1)) else { return c.one(None) };
    if a.len() != 2 || b.len() != 2 {
        return Err(format!("needs two matrices, but got shapes {} and {}", show(a), show(b)).into());
    }
    let (m, k) = if c.int("transA", 0) == 0 { (&a[0], &a[1]) } else { (&a[1], &a[0]) };
    let (other, n) = if c.int("transB", 0) == 0 { (&b[0], &b[1]) } else { (&b[1], &b[0]) };
    if !dims::may_equal(k, other) {
        c.report(format!("matrices of shapes {} and {} do not multiply", show(a), show(b)));
    }
    let product = vec![m.clone(), n.clone()];
    if let Some(bias) = c.shape(2) {
        let both = dims::broadcast([&product, bias])?;
        if both.len() != 2 || both.iter().zip(&product).any(|(both, own)| !dims::may_equal(both, own)) {
            c.report(format!("the bias of shape {} does not broadcast to {}", show(bias), show(&product)));
        }
    }
    c.one(Some(product))
}

/// As numpy.matmul: (…, M, K) times (…, K, N), the leading dimensions broadcast; vectors are rows or columns.
pub(super) fn matmul(c: &Context) -> Outputs {
    let (Some(a), Some(b)) = (c.shape(0), c.shape(1)) else { return c.one(None) };
    let (Some(k), Some(other)) = (a.last(), b.get(b.len().saturating_sub(2))) else {
        return Err("multiplies a scalar".to_owned().into());
    };
    if !dims::may_equal(k, other) {
        c.report(format!("shapes {} and {} do not multiply", show(a), show(b)));
    }
    let leading = |shape: &[_]| shape[..shape.len().saturating_sub(2)].to_vec();
    let mut product = dims::broadcast([&leading(a), &leading(b)])?;
    product.extend(a.len().checked_sub(2).map(|i| a[i].clone()));
    product.extend((b.len() >= 2).then(|| b[b.len() - 1].clone()));
    c.one(Some(product))
}
