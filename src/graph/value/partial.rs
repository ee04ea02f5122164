//! Arithmetic on integers of which some are free sizes.

use crate::graph::shape::fact::Item;
use crate::graph::shape::symbol;

/// Two items by operator name.
pub(super) fn binary(op: &str, a: &Item, b: &Item) -> Item {
    match op {
        "Add" | "Sum" => add(a, b, 1),
        "Sub" if a == b && *a != Item::Unknown => Item::Int(0),
        "Sub" => add(a, b, -1),
        "Mul" => multiply(a, b),
        "Div" => divide(a, b),
        "Equal" => truth(equal(a, b)),
        "Greater" => truth(greater(a, b)),
        "LessOrEqual" => truth(greater(a, b).map(|greater| !greater)),
        "Less" => truth(greater(b, a)),
        "GreaterOrEqual" => truth(greater(b, a).map(|greater| !greater)),
        "Max" if greater(a, b) == Some(true) => a.clone(),
        "Max" if greater(b, a) == Some(true) => b.clone(),
        "Min" if greater(a, b) == Some(true) => b.clone(),
        "Min" if greater(b, a) == Some(true) => a.clone(),
        "Min" | "Max" if a == b => a.clone(),
        _ => Item::Unknown,
    }
}

/// Where the condition is known.
pub(super) fn select(condition: &Item, a: &Item, b: &Item) -> Item {
    match condition.int() {
        Some(0) => b.clone(),
        Some(_) => a.clone(),
        None if a == b => a.clone(),
        None => Item::Unknown,
    }
}

fn add(a: &Item, b: &Item, sign: i64) -> Item {
    match (a, b) {
        (Item::Int(a), Item::Int(b)) => {
            b.checked_mul(sign).and_then(|b| a.checked_add(b)).map_or(Item::Unknown, Item::Int)
        }
        (size, Item::Int(n)) => n.checked_mul(sign).map_or(Item::Unknown, |n| Item::from(&symbol::add(&size.dim(), n))),
        (Item::Int(n), size) if sign == 1 => Item::from(&symbol::add(&size.dim(), *n)),
        _ => Item::Unknown,
    }
}

fn multiply(a: &Item, b: &Item) -> Item {
    match (a, b) {
        (Item::Int(a), Item::Int(b)) => a.checked_mul(*b).map_or(Item::Unknown, Item::Int),
        (Item::Int(n), size) | (size, Item::Int(n)) => Item::from(&symbol::multiply(&size.dim(), *n)),
        _ => Item::Unknown,
    }
}

fn divide(a: &Item, b: &Item) -> Item {
    match (a, b) {
        (Item::Int(a), Item::Int(b)) => a.checked_div(*b).map_or(Item::Unknown, Item::Int),
        (size, Item::Int(n)) => Item::from(&symbol::floor_divide(&size.dim(), *n)),
        (Item::Size(_), Item::Size(_)) => Item::from(&symbol::quotient(&a.dim(), &b.dim())),
        _ => Item::Unknown,
    }
}

fn equal(a: &Item, b: &Item) -> Option<bool> {
    match (a, b) {
        (Item::Int(a), Item::Int(b)) => Some(a == b),
        (Item::Size(a), Item::Size(b)) if a == b => Some(true),
        (Item::Size(size), Item::Int(n)) | (Item::Int(n), Item::Size(size)) if *n < least(size) => Some(false),
        _ => None,
    }
}

fn greater(a: &Item, b: &Item) -> Option<bool> {
    match (a, b) {
        (Item::Int(a), Item::Int(b)) => Some(a > b),
        (Item::Size(a), Item::Size(b)) if a == b => Some(false),
        (Item::Size(size), Item::Int(n)) if *n < least(size) => Some(true),
        (Item::Int(n), Item::Size(size)) if *n <= least(size) => Some(false),
        _ => None,
    }
}

/// A free size is at least 1, but what was taken from it or divided may be 0.
fn least(size: &str) -> i64 {
    i64::from(!size.contains('-') && !size.contains("floor"))
}

fn truth(value: Option<bool>) -> Item {
    value.map_or(Item::Unknown, |value| Item::Int(value.into()))
}
