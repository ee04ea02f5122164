//! Operators along one axis that depend on the order of elements: TopK, CumSum; and the triangle of a matrix.

use super::super::kernel::{Built, Ints, Spec, axis, fail, many, one};

/// The k largest (or smallest) elements and their places; of equal ones the first. k is an attribute before opset 10.
pub(super) fn top_k(spec: &Spec) -> Built {
    let attrs = &spec.node.attrs;
    let (along, largest) = (attrs.int("axis", -1), attrs.int("largest", 1) != 0);
    let count = match attrs.get("k") {
        Some(_) => Ints::Fixed(vec![attrs.int("k", 0)]),
        None => spec.ints_input(1),
    };
    many(move |call| {
        let x = call.tensor(0)?;
        let along = axis(along, x.dim())?;
        let count = count.required(call, "k")?.first().copied().unwrap_or_default();
        if !(0..=x.size()[along as usize]).contains(&count) {
            return fail(format!("the {count} first of {} elements", x.size()[along as usize]));
        }
        let (values, places) = x.f_sort_stable(true, along, largest)?;
        Ok(vec![values.f_narrow(along, 0, count)?, places.f_narrow(along, 0, count)?])
    })
}

/// Sums of all elements so far; without the element itself where `exclusive`, from behind where `reverse`.
pub(super) fn cum_sum(spec: &Spec) -> Built {
    let (exclusive, reverse) = (spec.node.attrs.int("exclusive", 0) != 0, spec.node.attrs.int("reverse", 0) != 0);
    let along = spec.ints_input(1);
    one(move |call| {
        let x = call.tensor(0)?;
        let along = axis(along.required(call, "axis")?.first().copied().unwrap_or_default(), x.dim())?;
        let turned = |x: &tch::Tensor| if reverse { x.f_flip([along]) } else { Ok(x.shallow_clone()) };
        let sums = turned(&turned(x)?.f_cumsum(along, x.f_kind()?)?)?;
        Ok(if exclusive { sums.f_sub(x)? } else { sums })
    })
}

/// The upper (or lower) triangle, with 0 elsewhere.
pub(super) fn trilu(spec: &Spec) -> Built {
    let upper = spec.node.attrs.int("upper", 1) != 0;
    let diagonal = spec.ints_input(1);
    one(move |call| {
        let x = call.tensor(0)?;
        let diagonal = diagonal.read(call)?.and_then(|k| k.first().copied()).unwrap_or_default();
        Ok(if upper { x.f_triu(diagonal)? } else { x.f_tril(diagonal)? })
    })
}
