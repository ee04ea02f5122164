//! Merges fitted adapters into their layers, in f64 (docs/method.md §3).
//!
//! With W the kernel of a convolution, (M, C, kH, kW), or of a linear layer, (M, C): behind a writer `W' = A·W` and `b' = A·b`,
//! ahead of a reader `W' = W·A`, over the channels and at every place of the window alike. An adapter has no bias, so zero
//! padding stays exact.

use tch::{Kind, Tensor};

use super::Adapter;
use super::sites::Side;
use crate::compress::CompressError;
use crate::compress::student::Student;
use crate::compress::student::edit::{own_input, wide};
use crate::compress::student::layer::Layer;

/// The student without the adapters, which computes the same as with them; `plain` is the student before they were inserted. A
/// bias
/// that other nodes read too is copied first, so that it changes for one layer only; kernels of which that is true get no adapter.
pub fn merge(plain: &Student, adapted: &Student, adapters: &[Adapter]) -> Result<Student, CompressError> {
    let (graph, taps) = (plain.graph.clone(), plain.taps.clone());
    let mut merged = Student { graph, params: adapted.params.deep_copy()?, taps };
    for adapter in adapters {
        let map = adapter.map(&merged.params)?;
        merged.params.remove(&adapter.weight);
        merge_one(&mut merged, &adapter.site.layer, adapter.site.side, &map)?;
    }
    Ok(merged)
}

/// `map` is (M, M) behind a writer and (C, C) ahead of a reader.
fn merge_one(student: &mut Student, layer: &Layer, side: Side, map: &Tensor) -> Result<(), CompressError> {
    let at = layer.position(&student.graph);
    let weight = own_input(&mut student.graph, &mut student.params, at, 1);
    let rows = layer.kernel(student)?;
    let size = wide(&student.params, &weight)?.size();
    let merged = match side {
        Side::Post => map.f_mm(&rows)?,
        Side::Pre => ahead_of_rows(&rows, map)?,
    };
    student.params.set(&weight, layer.as_kernel(&merged, &size)?.f_to_kind(Kind::Float)?);
    if side == Side::Post && student.graph.nodes[at].input(2).is_some() {
        let name = own_input(&mut student.graph, &mut student.params, at, 2);
        let bias = wide(&student.params, &name)?;
        let mapped = map.f_mv(&bias.f_flatten(0, -1)?)?.f_reshape(bias.size())?;
        student.params.set(&name, mapped.f_to_kind(Kind::Float)?);
    }
    Ok(())
}

/// Rows (M, C·kH·kW) that read the output of `map`, (C, C), as rows that read its input.
fn ahead_of_rows(rows: &Tensor, map: &Tensor) -> Result<Tensor, CompressError> {
    let windows = rows.f_reshape([rows.size()[0], map.size()[0], -1])?;
    Ok(Tensor::f_einsum("mcp,cd->mdp", &[&windows, map], None::<i64>)?.f_flatten(1, -1)?)
}
