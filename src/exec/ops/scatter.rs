//! Operators that read or write elements at places given as a tensor; negative places count from the end.

use tch::{Kind, Tensor};

use super::super::kernel::{Built, Call, Cause, Refusal, Spec, axis, fail, one, refuse};

/// What becomes of an element that is written and of what was there.
#[derive(Clone, Copy)]
enum Reduction {
    Replace,
    Add,
    /// Torch's name for it.
    By(&'static str),
}

impl Reduction {
    fn of(spec: &Spec) -> Result<Self, Refusal> {
        Ok(match spec.node.attrs.string("reduction", "none") {
            "none" => Self::Replace,
            "add" => Self::Add,
            "mul" => Self::By("prod"),
            "max" => Self::By("amax"),
            "min" => Self::By("amin"),
            other => return refuse(format!("reduction \"{other}\" is unknown")),
        })
    }
}

/// Element by element along one axis; also the forerunner `Scatter`.
pub(super) fn scatter_elements(spec: &Spec) -> Built {
    let reduction = Reduction::of(spec)?;
    let along = spec.node.attrs.int("axis", 0);
    one(move |call| {
        let (data, updates) = (call.tensor(0)?, call.tensor(2)?);
        let along = axis(along, data.dim())?;
        let places = from_front(call.tensor(1)?, data.size()[along as usize], data)?;
        Ok(match reduction {
            Reduction::Replace => data.f_scatter(along, &places, updates)?,
            Reduction::Add => data.f_scatter_add(along, &places, updates)?,
            Reduction::By(name) => {
                let flat = data.f_reshape([-1])?;
                let (places, updates) = (flat_places(&places, along, &data.size())?, updates.f_reshape([-1])?);
                flat.f_index_reduce(0, &places, &updates, name, true)?.f_reshape(data.size())?
            }
        })
    })
}

/// Places along one axis as numbers of the elements of a tensor of this size, (elements).
fn flat_places(places: &Tensor, along: i64, size: &[i64]) -> Result<Tensor, Cause> {
    let mut flat = places.f_zeros_like()?;
    let mut stride = 1;
    for at in (0..size.len()).rev() {
        let mut row = vec![1; size.len()];
        row[at] = -1;
        let own = match at as i64 == along {
            true => places.shallow_clone(),
            false => Tensor::f_arange(places.size()[at], (Kind::Int64, places.device()))?.f_reshape(row)?,
        };
        flat = flat.f_add(&own.f_mul_scalar(stride)?)?;
        stride *= size[at];
    }
    Ok(flat.f_reshape([-1])?)
}

/// (…, k) places in the first k axes; each writes what lies behind them.
pub(super) fn scatter_nd(spec: &Spec) -> Built {
    let reduction = Reduction::of(spec)?;
    one(move |call| {
        let (data, updates) = (call.tensor(0)?, call.tensor(2)?);
        let rows = Rows::of(call, data, 0)?;
        let updates = updates.f_to_device(data.device())?.f_reshape([rows.places.numel() as i64, rows.width()])?;
        let flat = rows.flat(data)?;
        let written = match reduction {
            Reduction::Replace => flat.f_index_copy(0, &rows.places, &updates)?,
            Reduction::Add => flat.f_index_add(0, &rows.places, &updates)?,
            Reduction::By(name) => flat.f_index_reduce(0, &rows.places, &updates, name, true)?,
        };
        Ok(written.f_reshape(data.size())?)
    })
}

pub(super) fn gather_elements(spec: &Spec) -> Built {
    let along = spec.node.attrs.int("axis", 0);
    one(move |call| {
        let data = call.tensor(0)?;
        let along = axis(along, data.dim())?;
        let places = from_front(call.tensor(1)?, data.size()[along as usize], data)?;
        Ok(data.f_gather(along, &places, false)?)
    })
}

/// (…, k) places in the first k axes behind `batch_dims` that both inputs share.
pub(super) fn gather_nd(spec: &Spec) -> Built {
    let batch = spec.node.attrs.int("batch_dims", 0);
    one(move |call| {
        let (data, indices) = (call.tensor(0)?, call.tensor(1)?);
        let rows = Rows::of(call, data, batch)?;
        let mut outer = indices.size();
        outer.pop();
        Ok(rows.flat(data)?.f_index_select(0, &rows.places)?.f_reshape([outer, rows.inner].concat())?)
    })
}

/// A tensor as rows: those are picked by places in its first axes, the others are a row.
struct Rows {
    /// Numbers of the rows.
    places: Tensor,
    inner: Vec<i64>,
}

impl Rows {
    fn of(call: &Call, data: &Tensor, batch: i64) -> Result<Self, Cause> {
        let indices = call.tensor(1)?;
        let size = data.size();
        let depth = indices.size().last().copied().unwrap_or(0);
        let batch = usize::try_from(batch).unwrap_or(usize::MAX);
        let picked = batch.saturating_add(depth as usize);
        if picked > size.len() || batch >= indices.dim() || indices.size()[..batch] != size[..batch] {
            return fail(format!("places {:?} do not fit {size:?} behind {batch} shared axes", indices.size()));
        }
        let groups: i64 = size[..batch].iter().product();
        let flat = indices.f_to_kind(Kind::Int64)?.f_to_device(data.device())?.f_reshape([groups, -1, depth])?;
        // Each group begins where the rows of the one before end.
        let mut places = Tensor::f_arange(groups, (Kind::Int64, data.device()))?.f_reshape([groups, 1])?;
        for (at, size) in size[batch..picked].iter().enumerate() {
            places = places.f_mul_scalar(*size)?.f_add(&from_front(&flat.f_select(-1, at as i64)?, *size, data)?)?;
        }
        Ok(Self { places: places.f_reshape([-1])?, inner: size[picked..].to_vec() })
    }

    fn width(&self) -> i64 {
        self.inner.iter().product()
    }

    /// (rows, elements of a row).
    fn flat(&self, data: &Tensor) -> Result<Tensor, Cause> {
        Ok(data.f_reshape([data.numel() as i64 / self.width().max(1), self.width()])?)
    }
}

/// Places counted from the front, beside the data.
pub(super) fn from_front(places: &Tensor, size: i64, data: &Tensor) -> Result<Tensor, Cause> {
    let places = places.f_to_kind(Kind::Int64)?.f_to_device(data.device())?;
    Ok(places.f_add_scalar(size)?.f_where_self(&places.f_lt(0)?, &places)?)
}
