//! Reshape targets that spell the fixed batch out.

use std::sync::Arc;

use super::Change;
use crate::graph::dim::Dim;
use crate::graph::infer::Inferred;
use crate::graph::model::Attribute;
use crate::graph::model::{Node, Written};
use crate::graph::shape::symbol;
use crate::graph::tensor::TensorData;

/// A Reshape whose target holds the fixed batch, by itself, joined with other sizes (the windows of Swin, the heads of attention)
/// or taken apart from them, with what is free in its place.
pub(super) fn free(written: &Written, node: &Node, inferred: &Inferred, fixed: usize, batch: &Dim) -> Option<Change> {
    if !node.is("Reshape") {
        return None;
    }
    let from = inferred.fact(node.input(0)?)?.shape.as_ref()?;
    let target = match node.attrs.ints("shape") {
        Some(target) => target.to_vec(),
        None => inferred.tensor(node.input(1)?)?.to_i64()?,
    };
    let zero_copies = node.attrs.int("allowzero", 0) == 0;
    let target = freed(from, target, zero_copies, i64::try_from(fixed).ok()?, batch)?;
    Some(with_target(written, node, target))
}

fn freed(from: &[Dim], given: Vec<i64>, zero_copies: bool, fixed: i64, batch: &Dim) -> Option<Vec<i64>> {
    if from.first() == Some(batch) && given.first() == Some(&fixed) {
        // A real 0 in the target could not be distinguished from a copy.
        let copies = zero_copies || !given[1..].contains(&0);
        return copies.then(|| std::iter::once(0).chain(given[1..].iter().copied()).collect());
    }
    let mut sizes = numbers(from, &given, zero_copies, fixed, batch)?;
    let at = place(from, &sizes, fixed, batch)?;
    // What is left over is the batch already.
    if given[at] == -1 || given[at] == 0 && zero_copies {
        return None;
    }
    sizes[at] = -1;
    Some(sizes)
}

/// The target in numbers, as it is for the fixed batch; `None` where it does not hold as many elements.
fn numbers(from: &[Dim], given: &[i64], zero_copies: bool, fixed: i64, batch: &Dim) -> Option<Vec<i64>> {
    let of_one = symbol::quotient(&symbol::product(from), batch).known()?;
    let whole = i64::try_from(of_one).ok()?.checked_mul(fixed)?;
    let mut sizes = given.to_vec();
    for (at, size) in sizes.iter_mut().enumerate().filter(|(_, size)| **size == 0 && zero_copies) {
        let copied = from.get(at)?;
        let times = || symbol::quotient(copied, batch).known();
        let of_batch = || i64::try_from(times()?).ok()?.checked_mul(fixed);
        *size = copied.known().and_then(|size| i64::try_from(size).ok()).or_else(of_batch)?;
    }
    let product = |sizes: &[i64]| sizes.iter().try_fold(1i64, |all, size| all.checked_mul(*size));
    if let Some(open) = sizes.iter().position(|size| *size == -1) {
        sizes[open] = 1;
        let others = product(&sizes).filter(|others| *others > 0 && whole % others == 0)?;
        sizes[open] = whole / others;
    }
    (product(&sizes)? == whole && whole > 0).then_some(sizes)
}

/// Which size of a target the batch goes into. Elements keep their order, so it stands behind as many elements as before: alone,
/// or first of what is joined in one size; else inside a size, though not among the channels, which are last.
fn place(from: &[Dim], sizes: &[i64], fixed: i64, batch: &Dim) -> Option<usize> {
    let ahead: Vec<i64> = sizes
        .iter()
        .scan(1i64, |all, size| {
            let ahead = *all;
            *all *= size;
            Some(ahead)
        })
        .collect();
    let last = sizes.len().checked_sub(1)?;
    let from_last = from.last().is_some_and(|dim| symbol::quotient(dim, batch).known().is_some());
    let inner = |at: usize| at != last || from_last;
    let befores = befores(from, batch)?;
    let find = |fits: &dyn Fn(usize, i64) -> bool| {
        let mut found = befores.iter().flat_map(|before| (0..sizes.len()).map(move |at| (at, *before)));
        found.find(|(at, before)| fits(*at, *before)).map(|(at, _)| at)
    };
    let alone = |at: usize, before: i64| ahead[at] == before && sizes[at] == fixed;
    let first = |at: usize, before: i64| ahead[at] == before && sizes[at] % fixed == 0 && inner(at);
    let inside = |at: usize, before: i64| {
        before % ahead[at] == 0 && (ahead[at] * sizes[at]) % (before * fixed) == 0 && inner(at)
    };
    find(&alone).or_else(|| find(&first)).or_else(|| find(&inside))
}

/// How many elements may stand ahead of the batch in a tensor of these sizes: where it is joined with other sizes, it is the
/// first or the last of them.
fn befores(from: &[Dim], batch: &Dim) -> Option<Vec<i64>> {
    let times = |dim: &Dim| symbol::quotient(dim, batch).known();
    let at = from.iter().position(|dim| dim.known().is_none() && times(dim).is_some())?;
    let ahead = from[..at].iter().try_fold(1usize, |all, dim| all.checked_mul(dim.known()?))?;
    let joined = times(&from[at])?;
    let ahead = [Some(ahead), ahead.checked_mul(joined)];
    let mut befores: Vec<i64> = ahead.into_iter().map(|ahead| i64::try_from(ahead?).ok()).collect::<Option<_>>()?;
    befores.dedup();
    Some(befores)
}

/// The node with another target, and the constant that it reads it from. 0 copies a size unless `allowzero` says otherwise, in
/// which case the batch is what is left, or `allowzero` goes.
fn with_target(written: &Written, node: &Node, mut target: Vec<i64>) -> Change {
    let mut node = node.clone();
    if node.attrs.int("allowzero", 0) != 0 {
        match target.contains(&-1) {
            true => node.attrs.set("allowzero", Attribute::Int(0)),
            false => target[0] = -1,
        }
    }
    if node.attrs.ints("shape").is_some() {
        node.attrs.set("shape", Attribute::Ints(target));
        return Change { node, before: Vec::new(), constants: Vec::new() };
    }
    // Other nodes may read the same constant.
    let name = written.free_name(&format!("{}_target", node.output()));
    node.inputs[1].clone_from(&name);
    let target = (name, Arc::new(TensorData::from_i64(&[target.len()], &target)));
    Change { node, before: Vec::new(), constants: vec![target] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dims(text: &str) -> Vec<Dim> {
        let dim = |part: &str| part.parse().map_or_else(|_| Dim::Symbol(part.into()), Dim::Known);
        text.split(' ').map(dim).collect()
    }

    fn freed_from(from: &str, target: &[i64], fixed: i64) -> Option<Vec<i64>> {
        freed(&dims(from), target.to_vec(), true, fixed, &Dim::Symbol("N".into()))
    }

    #[test]
    fn attention_over_the_first_axis_is_freed_at_every_turn() {
        for fixed in [1, 2, 8] {
            let free = |from: &str, target: &[i64]| freed_from(from, target, fixed).expect(from);
            assert_eq!(free("N 768 14 14", &[fixed, 768, 196]), [0, 768, 196]);
            assert_eq!(free("197 N 768", &[197, 12 * fixed, 64]), [197, -1, 64]);
            assert_eq!(free("12*N 197 64", &[fixed, 12, 197, 64]), [-1, 12, 197, 64]);
            assert_eq!(free("197 N 12 64", &[197 * fixed, 768]), [-1, 768]);
            assert_eq!(free("197*N 768", &[197, fixed, 768]), [197, -1, 768]);
        }
    }

    #[test]
    fn a_target_that_leaves_the_batch_open_stays() {
        for (from, target) in [
            ("N 8 4 4", [-1, 128].as_slice()),
            ("N 8 4 4", &[0, -1]),
            ("16 N 8", &[16, -1, 8]),
            ("N 8 16", &[-1, 8, 16]),
        ] {
            assert_eq!(freed_from(from, target, 4), None, "{from}");
        }
    }

    #[test]
    fn windows_of_a_batch_are_cut_out_and_put_back() {
        assert_eq!(freed_from("N 2 2 2 3 3", &[8, 6, 3], 2).expect("freed"), [-1, 6, 3]);
        assert_eq!(freed_from("4*N 6 3", &[2, 2, 2, -1, 3, 3], 2).expect("freed"), [-1, 2, 2, 2, 3, 3]);
    }
}
