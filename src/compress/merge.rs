//! Merges fitted adapters into their convolutions, in f64 (method §3).
//!
//! Behind a writer: `W'[:,:,i,j] = A·W[:,:,i,j]`, `b' = A·b`. Ahead of a reader: `W'[:,:,i,j] = W[:,:,i,j]·A`. An adapter
//! has no bias, so zero padding stays exact.

use tch::{Kind, Tensor};

use super::CompressError;
use super::adapter::Adapter;
use super::edit::{own_input, position, wide};
use super::sites::Side;
use super::student::Student;

/// The student without the adapters, computing what it computed with them: `plain` is the student before they came.
pub fn merge(plain: &Student, adapted: &Student, adapters: &[Adapter]) -> Result<Student, CompressError> {
    let mut graph = plain.graph.clone();
    let mut params = adapted.params.deep_copy()?;
    for adapter in adapters {
        let at = position(&graph, &adapter.site.conv).expect("a site names a node of its graph");
        let weight = own_input(&mut graph, &mut params, at, 1);
        let a = wide(&params, &adapter.weight)?.f_squeeze_dim(-1)?.f_squeeze_dim(-1)?;
        let merged = merged_weight(&wide(&params, &weight)?, &a, adapter.site.side)?;
        params.set(&weight, merged.f_to_kind(Kind::Float)?);
        if adapter.site.side == Side::Post && graph.nodes[at].input(2).is_some() {
            let bias = own_input(&mut graph, &mut params, at, 2);
            params.set(&bias, a.f_mv(&wide(&params, &bias)?)?.f_to_kind(Kind::Float)?);
        }
    }
    for adapter in adapters {
        params.remove(&adapter.weight);
    }
    Ok(Student { graph, params, taps: plain.taps.clone() })
}

/// `weight` is (M, C, kH, kW), `a` is (M, M) behind a writer and (C, C) ahead of a reader.
fn merged_weight(weight: &Tensor, a: &Tensor, side: Side) -> Result<Tensor, CompressError> {
    let equation = match side {
        Side::Post => "om,mchw->ochw",
        Side::Pre => "mchw,cd->mdhw",
    };
    let operands = if side == Side::Post { [a, weight] } else { [weight, a] };
    Ok(Tensor::f_einsum(equation, &operands, None::<i64>)?)
}
