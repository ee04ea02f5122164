//! Conv, ConvTranspose, MaxPool, AveragePool, GlobalAveragePool, GlobalMaxPool (ONNX operators, opsets 1–22).

use super::super::context::{Context, Outputs, Trouble, show};
use super::super::dims::{Window, may_equal};
use super::super::fact::Fact;
use super::super::symbol;
use crate::graph::dim::{Dim, Shape};
use crate::graph::tensor::DataType;

/// X (N, C, …), W (M, C / group, …), optional B (M) → (N, M, …).
pub(super) fn conv(c: &Context) -> Outputs {
    let (Some(x), Some(w)) = (c.shape(0), c.shape(1)) else { return c.one(None) };
    same_rank(x, w)?;
    let group = group(c)?;
    let wanted = symbol::multiply(&w[1], group);
    if !may_equal(&x[1], &wanted) {
        c.report(channels(x, w, group, &wanted));
    }
    if let (Some(m), Ok(group)) = (w[0].known(), usize::try_from(group))
        && m % group != 0
    {
        c.report(format!("{m} output channels do not divide into {group} groups"));
    }
    bias_fits(c, 2, &w[0]);
    let windows = windows(c, &kernel(c, w)?)?;
    let spatial = windows.iter().zip(&x[2..]).map(|(window, size)| window.positions(size));
    let mut shape = vec![x[0].clone(), w[0].clone()];
    for size in spatial {
        shape.push(size?);
    }
    c.one(Some(shape))
}

/// X (N, C, …), W (C, M / group, …), optional B (M) → (N, M, …).
pub(super) fn conv_transpose(c: &Context) -> Outputs {
    let (Some(x), Some(w)) = (c.shape(0), c.shape(1)) else { return c.one(None) };
    same_rank(x, w)?;
    if !may_equal(&x[1], &w[0]) {
        c.report(channels(x, w, 1, &w[0]));
    }
    let out = symbol::multiply(&w[1], group(c)?);
    bias_fits(c, 2, &out);
    let windows = windows(c, &kernel(c, w)?)?;
    let extra = per_axis(c, "output_padding", windows.len(), 0)?;
    let fixed = c.node.attrs.ints("output_shape").filter(|sizes| sizes.len() == windows.len());
    let mut shape = vec![x[0].clone(), out];
    for (i, (window, size)) in windows.iter().zip(&x[2..]).enumerate() {
        let stride = i64::try_from(window.stride).unwrap_or(i64::MAX);
        let reach = i64::try_from(window.kernel.saturating_sub(1).saturating_mul(window.dilation)).unwrap_or(i64::MAX);
        let pads = window.pads[0].saturating_add(window.pads[1]);
        // stride · (size - 1) + reach + 1 + output_padding - pads
        let rest = reach.saturating_add(1).saturating_add(extra[i]).saturating_sub(pads).saturating_sub(stride);
        shape.push(match fixed {
            Some(sizes) => usize::try_from(sizes[i]).map_or(Dim::Unknown, Dim::Known),
            None if window.same => symbol::multiply(size, stride),
            None => symbol::add(&symbol::multiply(size, stride), rest),
        });
    }
    c.one(Some(shape))
}

/// X (N, C, …) → Y and, where asked for, the indices of the maxima.
pub(super) fn max_pool(c: &Context) -> Outputs {
    let mut outputs = pool(c)?;
    if c.node.outputs.len() > 1 {
        outputs.push(Fact::new(Some(DataType::Int64), outputs[0].shape.clone()));
    }
    Ok(outputs)
}

/// X (N, C, …) → (N, C, …) by `kernel_shape`.
pub(super) fn pool(c: &Context) -> Outputs {
    let Some(x) = c.shape(0) else { return c.one(None) };
    let Some(kernel) = c.node.attrs.ints("kernel_shape") else { return Err("has no kernel_shape".to_owned().into()) };
    if x.len() != kernel.len() + 2 {
        return Err(format!("a kernel over {} axes does not fit an input of shape {}", kernel.len(), show(x)).into());
    }
    let sizes: Option<Vec<usize>> = kernel.iter().map(|k| usize::try_from(*k).ok()).collect();
    let sizes = sizes.ok_or_else(|| format!("kernel_shape {kernel:?} is negative"))?;
    let windows = windows(c, &sizes)?;
    let mut shape = x[..2].to_vec();
    for (window, size) in windows.iter().zip(&x[2..]) {
        shape.push(window.positions(size)?);
    }
    c.one(Some(shape))
}

/// X (N, C, …) → (N, C, 1, …).
pub(super) fn global_pool(c: &Context) -> Outputs {
    let Some(x) = c.shape(0) else { return c.one(None) };
    if x.len() < 3 {
        return Err(format!("needs an input of at least 3 dimensions, but it has shape {}", show(x)).into());
    }
    let ones = std::iter::repeat_n(Dim::Known(1), x.len() - 2);
    c.one(Some(x[..2].iter().cloned().chain(ones).collect()))
}

fn same_rank(x: &Shape, w: &Shape) -> Result<(), Trouble> {
    if x.len() == w.len() && x.len() >= 3 {
        return Ok(());
    }
    Err(format!("the input of shape {} and the weight of shape {} do not fit", show(x), show(w)).into())
}

fn channels(x: &Shape, w: &Shape, group: i64, wanted: &Dim) -> Trouble {
    let groups = if group == 1 { String::new() } else { format!(" with {group} groups") };
    let wanted = show(std::slice::from_ref(wanted));
    format!(
        "the input of shape {} does not have the {wanted} channels that the weight of shape {}{groups} needs",
        show(x),
        show(w)
    )
    .into()
}

fn group(c: &Context) -> Result<i64, Trouble> {
    let group = c.int("group", 1);
    if group > 0 { Ok(group) } else { Err(format!("group {group} is not positive").into()) }
}

fn bias_fits(c: &Context, index: usize, channels: &Dim) {
    if let Some(bias) = c.shape(index).filter(|bias| bias.len() != 1 || !may_equal(&bias[0], channels)) {
        let wanted = show(std::slice::from_ref(channels));
        c.report(format!("the bias has shape {}, not {wanted}", show(bias)));
    }
}

/// `kernel_shape`, which has to agree with the weight if it is given.
fn kernel(c: &Context, w: &Shape) -> Result<Vec<usize>, Trouble> {
    let from_weight: Option<Vec<usize>> = w[2..].iter().map(Dim::known).collect();
    let Some(given) = c.node.attrs.ints("kernel_shape") else {
        return from_weight.ok_or_else(|| "the kernel size is not known: the weight is no constant".to_owned().into());
    };
    let given: Vec<usize> = given.iter().map(|k| usize::try_from(*k).unwrap_or(0)).collect();
    if given.len() != w.len() - 2 || from_weight.is_some_and(|kernel| kernel != given) {
        return Err(format!("kernel_shape {given:?} is not that of the weight {}", show(w)).into());
    }
    Ok(given)
}

/// The windows along the spatial axes, from `strides`, `dilations`, `pads`, `auto_pad`, `ceil_mode`.
fn windows(c: &Context, kernel: &[usize]) -> Result<Vec<Window>, Trouble> {
    let rank = kernel.len();
    let (strides, dilations) = (per_axis(c, "strides", rank, 1)?, per_axis(c, "dilations", rank, 1)?);
    let (same, padded) = match c.node.attrs.string("auto_pad", "NOTSET") {
        "SAME_UPPER" | "SAME_LOWER" => (true, false),
        "VALID" => (false, false),
        _ => (false, true),
    };
    let pads = match c.node.attrs.ints("pads") {
        Some(pads) if padded && pads.len() == 2 * rank => pads.to_vec(),
        Some(pads) if padded => return Err(format!("pads {pads:?} are not two for each of {rank} axes").into()),
        _ => vec![0; 2 * rank],
    };
    let positive = |name: &str, value: i64| {
        usize::try_from(value).ok().filter(|v| *v > 0).ok_or_else(|| format!("{name} {value} is not positive"))
    };
    let windows = (0..rank).map(|i| {
        Ok(Window {
            kernel: kernel[i],
            stride: positive("stride", strides[i])?,
            dilation: positive("dilation", dilations[i])?,
            pads: [pads[i], pads[rank + i]],
            same,
            ceil: c.int("ceil_mode", 0) != 0,
        })
    });
    windows.collect()
}

fn per_axis(c: &Context, attribute: &str, rank: usize, default: i64) -> Result<Vec<i64>, Trouble> {
    match c.node.attrs.ints(attribute) {
        Some(values) if values.len() == rank => Ok(values.to_vec()),
        Some(values) => Err(format!("{attribute} {values:?} is not one for each of {rank} axes").into()),
        None => Ok(vec![default; rank]),
    }
}
