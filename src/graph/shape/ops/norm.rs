//! BatchNormalization, InstanceNormalization, GroupNormalization, LayerNormalization (ONNX operators, opsets 6–21).

use super::super::context::{Context, Outputs, show};
use super::super::dims::may_equal;
use super::super::fact::Fact;
use crate::graph::dim::{Dim, Shape};
use crate::graph::tensor::DataType;

/// X (N, C, …) and scale, bias, mean, variance (C) → Y and, in training mode, the running statistics.
pub(super) fn batch_normalization(c: &Context) -> Outputs {
    parameters_fit(c, 1..=4);
    let mut outputs = c.one(c.shape(0).cloned())?;
    outputs.extend((1..c.node.outputs.len()).map(|i| Fact::new(c.dtype(2 + i.min(2)), c.shape(2 + i.min(2)).cloned())));
    Ok(outputs)
}

/// X (N, C, …) and scale, bias (C) → Y.
pub(super) fn per_channel(c: &Context) -> Outputs {
    parameters_fit(c, 1..=2);
    c.one(c.shape(0).cloned())
}

/// As [`per_channel`]; opset 18 had one scale and bias per group.
pub(super) fn group_normalization(c: &Context) -> Outputs {
    let groups = usize::try_from(c.int("num_groups", 1)).ok().filter(|groups| *groups > 0);
    let groups = groups.ok_or_else(|| "num_groups is not positive".to_owned())?;
    if let Some(channels) = c.shape(0).and_then(|x| x.get(1)).and_then(Dim::known)
        && channels % groups != 0
    {
        c.report(format!("{channels} channels do not divide into {groups} groups"));
    }
    if c.opset < 21 { c.one(c.shape(0).cloned()) } else { per_channel(c) }
}

/// X, scale, optional bias over the axes from `axis` on → Y and, where asked for, mean and inverse deviation.
pub(super) fn layer_normalization(c: &Context) -> Outputs {
    let Some(x) = c.shape(0) else { return c.one(None) };
    let axis = c.axis(c.int("axis", -1), x.len())?;
    for i in 1..=2 {
        let Some(parameter) = c.shape(i) else { continue };
        let wanted = &x[axis..];
        let aligned = parameter.iter().rev().zip(wanted.iter().rev());
        let fits = parameter.len() <= x.len() && aligned.clone().all(|(p, x)| p.known() == Some(1) || may_equal(p, x));
        if !fits {
            c.report(format!("a parameter has shape {}, not {}", show(parameter), show(wanted)));
        }
    }
    let mut outputs = c.one(Some(x.clone()))?;
    let statistics: Shape =
        x.iter().enumerate().map(|(i, dim)| if i < axis { dim.clone() } else { Dim::Known(1) }).collect();
    outputs.extend((1..c.node.outputs.len()).map(|_| Fact::new(Some(DataType::Float32), Some(statistics.clone()))));
    Ok(outputs)
}

fn parameters_fit(c: &Context, indices: std::ops::RangeInclusive<usize>) {
    let Some(x) = c.shape(0) else { return };
    let Some(channels) = x.get(1) else {
        return c.report(format!("needs a channel dimension, but the input has shape {}", show(x)));
    };
    for i in indices {
        if let Some(parameter) = c.shape(i).filter(|shape| shape.len() != 1 || !may_equal(&shape[0], channels)) {
            let name = c.node.input(i).unwrap_or_default();
            let wanted = show(std::slice::from_ref(channels));
            c.report(format!("`{name}` has shape {}, but the channels are {wanted}", show(parameter)));
        }
    }
}
