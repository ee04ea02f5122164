//! Arithmetic on free sizes, as text in one canonical form: two paths that halve `H` both give `ceil(H/2)`, so that
//! equal shapes compare equal without a size being known.

use crate::graph::dim::Dim;

/// Deeper expressions are of no use and would grow with the depth of the network.
const LONGEST: usize = 64;

/// `size + amount`; `Unknown` where that is negative.
pub(crate) fn add(size: &Dim, amount: i64) -> Dim {
    match size {
        Dim::Known(n) => known(i64::try_from(*n).ok().and_then(|n| n.checked_add(amount))),
        Dim::Symbol(text) => {
            let (base, offset) = offset(text);
            match offset.checked_add(amount) {
                Some(0) => symbol(base.to_owned()),
                Some(sum) => symbol(format!("{base}{sum:+}")),
                None => Dim::Unknown,
            }
        }
        Dim::Unknown => Dim::Unknown,
    }
}

/// `size · factor`.
pub(crate) fn multiply(size: &Dim, factor: i64) -> Dim {
    match (size, factor) {
        (_, 0) => Dim::Known(0),
        (_, ..0) => Dim::Unknown,
        (_, 1) => size.clone(),
        (Dim::Known(n), _) => known(i64::try_from(*n).ok().and_then(|n| n.checked_mul(factor))),
        (Dim::Symbol(text), _) => match coefficient(text) {
            Some((own, base)) => own.checked_mul(factor).map_or(Dim::Unknown, |c| symbol(format!("{c}*{base}"))),
            None => symbol(format!("{factor}*{}", bracketed(text))),
        },
        (Dim::Unknown, _) => Dim::Unknown,
    }
}

/// `⌊size / divisor⌋`.
pub(crate) fn floor_divide(size: &Dim, divisor: i64) -> Dim {
    match size {
        _ if divisor <= 0 => Dim::Unknown,
        Dim::Known(n) => known(i64::try_from(*n).ok().map(|n| n / divisor)),
        Dim::Symbol(text) => {
            exact(text, divisor).unwrap_or_else(|| symbol(format!("floor({}/{divisor})", operand(text))))
        }
        Dim::Unknown => Dim::Unknown,
    }
}

/// `⌈size / divisor⌉`.
pub(crate) fn ceil_divide(size: &Dim, divisor: i64) -> Dim {
    match size {
        _ if divisor <= 0 => Dim::Unknown,
        Dim::Known(n) => known(i64::try_from(*n).ok().map(|n| n / divisor + i64::from(n % divisor != 0))),
        Dim::Symbol(text) => exact(text, divisor).unwrap_or_else(|| match nested_ceil(text) {
            Some((inner, own)) if own.checked_mul(divisor).is_some() => {
                symbol(format!("ceil({inner}/{})", own * divisor))
            }
            _ => symbol(format!("ceil({}/{divisor})", operand(text))),
        }),
        Dim::Unknown => Dim::Unknown,
    }
}

/// `N` of `4*N`; else the whole.
pub(crate) fn base(text: &str) -> &str {
    coefficient(text).map_or(text, |(_, base)| base)
}

/// The size if the free size `name` is `value`; `None` if other free sizes are in it, or more than a factor.
pub(crate) fn at(size: &Dim, name: &str, value: usize) -> Option<usize> {
    match size {
        Dim::Known(size) => Some(*size),
        Dim::Symbol(text) if text == name => Some(value),
        Dim::Symbol(text) => {
            let (factor, _) = coefficient(text).filter(|(_, base)| *base == name)?;
            value.checked_mul(usize::try_from(factor).ok()?)
        }
        Dim::Unknown => None,
    }
}

/// The size where every free size that it holds is 1, or close to that: `4*N+2` gives 6, and `ceil(H/2)` gives 1.
pub(crate) fn at_one(size: &Dim) -> usize {
    match size {
        Dim::Known(size) => *size,
        Dim::Symbol(text) => usize::try_from(text_at_one(text)).unwrap_or(1).max(1),
        Dim::Unknown => 1,
    }
}

fn text_at_one(text: &str) -> i64 {
    if let Some((factor, base)) = coefficient(text) {
        let inner = base.strip_prefix('(').and_then(|base| base.strip_suffix(')'));
        return factor.saturating_mul(inner.map_or(1, text_at_one));
    }
    match offset(text) {
        (_, 0) => 1,
        (base, amount) => text_at_one(base).saturating_add(amount),
    }
}

/// Product of sizes; symbolic where at most one of them is.
pub(crate) fn product(sizes: &[Dim]) -> Dim {
    if sizes.iter().any(|size| size.known() == Some(0)) {
        return Dim::Known(0);
    }
    let factor = sizes.iter().filter_map(Dim::known).try_fold(1i64, |n, d| n.checked_mul(i64::try_from(d).ok()?));
    let mut free = sizes.iter().filter(|size| size.known().is_none());
    match (factor, free.next(), free.next()) {
        (Some(factor), None, _) => known(Some(factor)),
        (Some(factor), Some(size), None) => multiply(size, factor),
        _ => Dim::Unknown,
    }
}

/// `whole / part` if the one is a multiple of the other; `Unknown` if that is not known.
pub(crate) fn quotient(whole: &Dim, part: &Dim) -> Dim {
    match (whole, part) {
        (_, Dim::Known(1)) => whole.clone(),
        (Dim::Known(n), Dim::Known(d)) if *d > 0 && n % d == 0 => Dim::Known(n / d),
        (Dim::Symbol(text), Dim::Known(d)) => {
            i64::try_from(*d).ok().and_then(|d| exact(text, d)).unwrap_or(Dim::Unknown)
        }
        (Dim::Symbol(a), Dim::Symbol(b)) => {
            match (coefficient(a).unwrap_or((1, a)), coefficient(b).unwrap_or((1, b))) {
                ((a, base), (b, other)) if base == other && a % b == 0 => known(Some(a / b)),
                _ => Dim::Unknown,
            }
        }
        _ => Dim::Unknown,
    }
}

fn known(size: Option<i64>) -> Dim {
    size.and_then(|n| usize::try_from(n).ok()).map_or(Dim::Unknown, Dim::Known)
}

fn symbol(text: String) -> Dim {
    if text.len() <= LONGEST { Dim::Symbol(text) } else { Dim::Unknown }
}

fn exact(text: &str, divisor: i64) -> Option<Dim> {
    match divisor {
        ..=0 => return None,
        1 => return Some(Dim::Symbol(text.to_owned())),
        _ => {}
    }
    let (own, base) = coefficient(text)?;
    match own / divisor {
        _ if own % divisor != 0 => None,
        1 => Some(Dim::Symbol(base.strip_prefix('(').and_then(|b| b.strip_suffix(')')).unwrap_or(base).to_owned())),
        rest => Some(Dim::Symbol(format!("{rest}*{base}"))),
    }
}

/// `N+3` → (`N`, 3); (`N`, 0) where nothing is added.
fn offset(text: &str) -> (&str, i64) {
    let split = text.rfind(['+', '-']).filter(|at| *at > 0);
    let parsed = split.and_then(|at| Some((&text[..at], text[at..].parse().ok()?)));
    parsed.unwrap_or((text, 0))
}

/// `4*N` → (4, `N`).
fn coefficient(text: &str) -> Option<(i64, &str)> {
    let (factor, base) = text.split_once('*')?;
    let whole = base.starts_with('(') && base.ends_with(')') || base.chars().all(|c| c.is_alphanumeric() || c == '_');
    factor.parse().ok().filter(|factor| *factor > 0 && whole).map(|factor| (factor, base))
}

/// `ceil(H/2)` → (`H`, 2).
fn nested_ceil(text: &str) -> Option<(&str, i64)> {
    let (inner, divisor) = text.strip_prefix("ceil(")?.strip_suffix(')')?.rsplit_once('/')?;
    divisor.parse().ok().map(|divisor| (inner, divisor))
}

/// Brackets around a sum.
fn operand(text: &str) -> String {
    if offset(text).1 == 0 { text.to_owned() } else { format!("({text})") }
}

fn bracketed(text: &str) -> String {
    if text.chars().all(|c| c.is_alphanumeric() || c == '_') { text.to_owned() } else { format!("({text})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn h() -> Dim {
        Dim::Symbol("H".into())
    }

    #[test]
    fn two_ways_to_quarter_a_size_agree() {
        let twice = ceil_divide(&add(&add(&ceil_divide(&h(), 2), 1), -1), 2);
        assert_eq!(twice, ceil_divide(&h(), 4));
        assert_eq!(twice, Dim::Symbol("ceil(H/4)".into()));
    }

    #[test]
    fn a_multiple_divides_back() {
        let windows = product(&[h(), Dim::Known(8), Dim::Known(8)]);
        assert_eq!(windows, Dim::Symbol("64*H".into()));
        assert_eq!(floor_divide(&windows, 64), h());
        assert_eq!(quotient(&windows, &h()), Dim::Known(64));
        assert_eq!(exact("64*(H+1)", 64), Some(Dim::Symbol("H+1".into())));
        assert_eq!(quotient(&windows, &Dim::Known(0)), Dim::Unknown);
    }

    #[test]
    fn a_size_at_one_is_what_stands_beside_the_free_ones() {
        let at_one = |text: &str| at_one(&Dim::Symbol(text.into()));
        assert_eq!(["N", "4*N", "4*N+2", "4*(N+2)", "N-7", "ceil(N/2)"].map(at_one), [1, 4, 6, 12, 1, 1]);
        assert_eq!(at_one(&format!("N+{}", i64::MAX)), usize::try_from(i64::MAX).expect("64 bits"));
    }

    #[test]
    fn what_overflows_is_unknown() {
        let huge = Dim::Known(usize::MAX / 2);
        assert_eq!(product(&[huge.clone(), huge.clone()]), Dim::Unknown);
        assert_eq!(add(&huge, i64::MAX), Dim::Unknown);
        assert_eq!(product(&[huge.clone(), huge, Dim::Known(0)]), Dim::Known(0));
    }
}
