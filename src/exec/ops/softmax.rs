//! Softmax and LogSoftmax.

use tch::{TchError, Tensor};

use super::super::kernel::{Built, Spec, axis, one};

pub(super) fn softmax(spec: &Spec) -> Built {
    over_axis(spec, |x, dim| x.f_softmax(dim, None))
}

pub(super) fn log_softmax(spec: &Spec) -> Built {
    over_axis(spec, |x, dim| x.f_log_softmax(dim, None))
}

/// Since opset 13 over one axis; before, over all axes from it on, flattened.
fn over_axis(spec: &Spec, run: impl Fn(&Tensor, i64) -> Result<Tensor, TchError> + Send + Sync + 'static) -> Built {
    let flattened = spec.opset < 13;
    let over = spec.node.attrs.int("axis", if flattened { 1 } else { -1 });
    one(move |call| {
        let x = call.tensor(0)?;
        let over = axis(over, x.dim())?;
        if !flattened {
            return Ok(run(x, over)?);
        }
        let size = x.size();
        let rows: i64 = size[..over as usize].iter().product();
        Ok(run(&x.f_reshape([rows, size[over as usize..].iter().product()])?, 1)?.f_reshape(size)?)
    })
}
