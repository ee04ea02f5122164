//! Cast, arithmetic, comparison, Where, reduction: of constants, and of integers that are partly known.

use std::sync::Arc;

use super::movement::broadcast_index;
use super::numbers::Numbers;
use super::partial;
use crate::graph::shape::context::{Context, Trouble};
use crate::graph::shape::fact::{Fact, Item, Items, Known};
use crate::graph::tensor::{DataType, TensorData};

type Values = Result<Vec<Option<Known>>, Trouble>;

/// To the element type that inference found.
pub(super) fn cast(c: &Context, outputs: &[Fact]) -> Values {
    let (Some(x), Some(dtype)) = (c.fact(0), outputs[0].dtype) else { return Ok(vec![None]) };
    Ok(vec![match &x.known {
        Some(Known::Tensor(tensor)) if tensor.dtype == dtype => Some(Known::Tensor(Arc::clone(tensor))),
        Some(Known::Tensor(tensor)) => Numbers::of(tensor).and_then(|numbers| constant(numbers, dtype, &tensor.dims)),
        Some(Known::Items(items)) if dtype == DataType::Int64 || dtype == DataType::Int32 => {
            Some(Known::Items(items.clone()))
        }
        _ => None,
    }])
}

pub(super) fn unary(c: &Context, outputs: &[Fact]) -> Values {
    let (Some(x), Some(dtype)) = (c.fact(0).and_then(Fact::tensor), outputs[0].dtype) else { return Ok(vec![None]) };
    let numbers = match Numbers::of(x) {
        Some(Numbers::Float(values)) => {
            float_unary(&c.node.op).map(|f| Numbers::Float(values.into_iter().map(f).collect()))
        }
        Some(Numbers::Int(values)) => int_unary(&c.node.op).map(|f| Numbers::Int(values.into_iter().map(f).collect())),
        None => None,
    };
    Ok(vec![numbers.and_then(|numbers| constant(numbers, dtype, &x.dims))])
}

fn float_unary(op: &str) -> Option<fn(f64) -> f64> {
    Some(match op {
        "Neg" => |v| -v,
        "Abs" => f64::abs,
        "Sqrt" => f64::sqrt,
        "Exp" => f64::exp,
        "Log" => f64::ln,
        "Floor" => f64::floor,
        "Ceil" => f64::ceil,
        "Reciprocal" => f64::recip,
        "Relu" => |v| v.max(0.0),
        _ => return None,
    })
}

fn int_unary(op: &str) -> Option<fn(i64) -> i64> {
    Some(match op {
        "Neg" => i64::wrapping_neg,
        "Abs" => i64::wrapping_abs,
        "Not" => |v| i64::from(v == 0),
        "Relu" => |v| v.max(0),
        _ => return None,
    })
}

/// Two or more inputs, broadcast.
pub(super) fn binary(c: &Context, outputs: &[Fact]) -> Values {
    let (Some(dims), Some(dtype)) = (outputs[0].dims(), outputs[0].dtype) else { return Ok(vec![None]) };
    // Before opset 7 the operands were aligned by attributes; `fmod` takes the sign of the dividend.
    if c.opset < 7 || c.int("fmod", 0) != 0 {
        return Ok(vec![None]);
    }
    let tensors: Option<Vec<&Arc<TensorData>>> = c.inputs.iter().flatten().map(|fact| fact.tensor()).collect();
    let Some(tensors) = tensors else { return Ok(vec![partial_binary(c, dtype, &dims)]) };
    let mut operands = tensors.into_iter().map(|tensor| Some(spread(Numbers::of(tensor)?, &tensor.dims, &dims)));
    let Some(Some(first)) = operands.next() else { return Ok(vec![None]) };
    let result = operands.try_fold(first, |sum, next| apply(&c.node.op, sum, next?));
    Ok(vec![result.and_then(|numbers| constant(numbers, dtype, &dims))])
}

fn partial_binary(c: &Context, dtype: DataType, dims: &[usize]) -> Option<Known> {
    let mut operands = (0..c.inputs.len()).map(|i| spread_items(&c.items(i)?, dims));
    let first = operands.next()??;
    let result = operands.try_fold(first, |sum, next| {
        Some(sum.iter().zip(&next?).map(|(a, b)| partial::binary(&c.node.op, a, b)).collect())
    });
    result.map(|items| Items { dims: dims.to_vec(), items }.into_known(dtype))
}

fn apply(op: &str, a: Numbers, b: Numbers) -> Option<Numbers> {
    let compare: Option<fn(f64, f64) -> bool> = match op {
        "Equal" => Some(|a, b| a == b),
        "Greater" => Some(|a, b| a > b),
        "GreaterOrEqual" => Some(|a, b| a >= b),
        "Less" => Some(|a, b| a < b),
        "LessOrEqual" => Some(|a, b| a <= b),
        _ => None,
    };
    match (a, b) {
        (Numbers::Int(a), Numbers::Int(b)) => {
            let results = a.into_iter().zip(b).map(|(a, b)| int_binary(op, a, b));
            results.collect::<Option<_>>().map(Numbers::Int)
        }
        (a, b) => {
            let pairs = a.floats().into_iter().zip(b.floats());
            if let Some(compare) = compare {
                return Some(Numbers::Int(pairs.map(|(a, b)| i64::from(compare(a, b))).collect()));
            }
            let compute = float_binary(op)?;
            Some(Numbers::Float(pairs.map(|(a, b)| compute(a, b)).collect()))
        }
    }
}

fn float_binary(op: &str) -> Option<fn(f64, f64) -> f64> {
    Some(match op {
        "Add" | "Sum" => |a, b| a + b,
        "Sub" => |a, b| a - b,
        "Mul" => |a, b| a * b,
        "Div" => |a, b| a / b,
        "Pow" => f64::powf,
        "Min" => f64::min,
        "Max" => f64::max,
        _ => return None,
    })
}

/// `None` if the result is not defined.
fn int_binary(op: &str, a: i64, b: i64) -> Option<i64> {
    Some(match op {
        "Add" | "Sum" => a.wrapping_add(b),
        "Sub" => a.wrapping_sub(b),
        "Mul" => a.wrapping_mul(b),
        "Div" => a.checked_div(b)?,
        // The sign of the divisor, as Python's.
        "Mod" => a.checked_rem(b).map(|rest| if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest })?,
        "Pow" => a.checked_pow(u32::try_from(b).ok()?)?,
        "Min" => a.min(b),
        "Max" => a.max(b),
        "And" => i64::from(a != 0 && b != 0),
        "Or" => i64::from(a != 0 || b != 0),
        "Equal" => i64::from(a == b),
        "Greater" => i64::from(a > b),
        "GreaterOrEqual" => i64::from(a >= b),
        "Less" => i64::from(a < b),
        "LessOrEqual" => i64::from(a <= b),
        _ => return None,
    })
}

/// Where: the second input where the first is true, else the third.
pub(super) fn select(c: &Context, outputs: &[Fact]) -> Values {
    let (Some(dims), Some(dtype)) = (outputs[0].dims(), outputs[0].dtype) else { return Ok(vec![None]) };
    let tensor = |i: usize| c.fact(i).and_then(Fact::tensor);
    if let (Some(condition), Some(a), Some(b)) = (tensor(0), tensor(1), tensor(2)) {
        let numbers = |t: &TensorData| Numbers::of(t).map(|numbers| spread(numbers, &t.dims, &dims));
        let chosen = match (numbers(condition), numbers(a), numbers(b)) {
            (Some(Numbers::Int(condition)), Some(Numbers::Int(a)), Some(Numbers::Int(b))) => {
                Some(Numbers::Int(choose(&condition, &a, &b)))
            }
            (Some(Numbers::Int(condition)), Some(a), Some(b)) => {
                Some(Numbers::Float(choose(&condition, &a.floats(), &b.floats())))
            }
            _ => None,
        };
        return Ok(vec![chosen.and_then(|numbers| constant(numbers, dtype, &dims))]);
    }
    let items = |i: usize| c.items(i).and_then(|items| spread_items(&items, &dims));
    let (Some(condition), Some(a), Some(b)) = (items(0), items(1), items(2)) else { return Ok(vec![None]) };
    let chosen = condition.iter().zip(a.iter().zip(&b)).map(|(condition, (a, b))| partial::select(condition, a, b));
    Ok(vec![Some(Items { items: chosen.collect(), dims }.into_known(dtype))])
}

fn choose<T: Copy>(condition: &[i64], a: &[T], b: &[T]) -> Vec<T> {
    condition.iter().zip(a.iter().zip(b)).map(|(condition, (a, b))| if *condition != 0 { *a } else { *b }).collect()
}

/// Over the axes whose size differs between input and output, or all.
pub(super) fn reduce(c: &Context, outputs: &[Fact]) -> Values {
    let (Some(x), Some(out)) = (c.fact(0).and_then(Fact::tensor), outputs[0].dims()) else { return Ok(vec![None]) };
    let axes = match c.ints_from("axes", 1) {
        Ok(Some(axes)) if !axes.is_empty() => c.axes(&axes, x.dims.len())?,
        Ok(_) if c.int("noop_with_empty_axes", 0) != 0 => return Ok(vec![Some(Known::Tensor(Arc::clone(x)))]),
        Ok(_) => (0..x.dims.len()).collect(),
        Err(_) => return Ok(vec![None]),
    };
    let kept: Vec<usize> = x.dims.iter().enumerate().map(|(i, d)| if axes.contains(&i) { 1 } else { *d }).collect();
    let Some(numbers) = Numbers::of(x) else { return Ok(vec![None]) };
    let integer = matches!(numbers, Numbers::Int(_));
    // A mean of integers has rules of its own; nothing of one element has an extremum.
    if x.is_empty() || integer && c.node.op == "ReduceMean" {
        return Ok(vec![None]);
    }
    let group = broadcast_index(&kept, &x.dims);
    let count: usize = kept.iter().product();
    let result = match numbers {
        Numbers::Int(values) => {
            fold(count, &group, &values, |a, b| int_binary(reduction(&c.node.op), a, b)).map(Numbers::Int)
        }
        Numbers::Float(values) => {
            let compute = float_binary(reduction(&c.node.op));
            let sums = fold(count, &group, &values, |a, b| Some(compute?(a, b)));
            let share = if c.node.op == "ReduceMean" { (x.len() / count) as f64 } else { 1.0 };
            sums.map(|sums| Numbers::Float(sums.into_iter().map(|sum| sum / share).collect()))
        }
    };
    Ok(vec![result.and_then(|numbers| constant(numbers, x.dtype, &out))])
}

fn reduction(op: &str) -> &'static str {
    match op {
        "ReduceProd" => "Mul",
        "ReduceMax" => "Max",
        "ReduceMin" => "Min",
        _ => "Add",
    }
}

fn fold<T: Copy>(count: usize, group: &[usize], values: &[T], op: impl Fn(T, T) -> Option<T>) -> Option<Vec<T>> {
    let mut results: Vec<Option<T>> = vec![None; count];
    for (group, value) in group.iter().zip(values) {
        results[*group] = Some(match results[*group] {
            Some(sum) => op(sum, *value)?,
            None => *value,
        });
    }
    results.into_iter().collect()
}

fn constant(numbers: Numbers, dtype: DataType, dims: &[usize]) -> Option<Known> {
    numbers.tensor(dtype, dims).map(|tensor| Known::Tensor(Arc::new(tensor)))
}

fn spread(numbers: Numbers, from: &[usize], to: &[usize]) -> Numbers {
    if from == to { numbers } else { numbers.pick(&broadcast_index(from, to)) }
}

fn spread_items(items: &Items, to: &[usize]) -> Option<Vec<Item>> {
    Some(broadcast_index(&items.dims, to).into_iter().map(|i| items.items[i].clone()).collect())
}
