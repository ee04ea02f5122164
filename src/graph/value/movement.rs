//! Operators that only move elements: every output element is one input element, whatever its type.

use std::sync::Arc;

use crate::graph::shape::context::{Context, Trouble};
use crate::graph::shape::fact::{Fact, Item, Items, Known};
use crate::graph::shape::ops::{cuts, pads, permutation, split_sizes};
use crate::graph::tensor::TensorData;

type Values = Result<Vec<Option<Known>>, Trouble>;

/// Stands for an element that comes from no input.
const FILL: usize = usize::MAX;

/// The first input in the inferred shape of the first output.
pub(super) fn same(c: &Context, outputs: &[Fact]) -> Values {
    let (Some(known), Some(dims)) = (c.fact(0).and_then(|x| x.known.as_ref()), outputs[0].dims()) else {
        return Ok(vec![None]);
    };
    Ok(vec![Some(known.clone().with_dims(dims))])
}

pub(super) fn transpose(c: &Context, _: &[Fact]) -> Values {
    let Some((known, dims)) = source(c, 0) else { return Ok(vec![None]) };
    let perm = permutation(c, dims.len())?;
    let strides = strides(&dims);
    let sizes: Vec<usize> = perm.iter().map(|axis| dims[*axis]).collect();
    let steps = perm.iter().map(|axis| (0..dims[*axis]).map(|i| i * strides[*axis]).collect());
    Ok(vec![known.pick(&sizes, &combine(steps.collect()), None)])
}

/// What DepthToSpace and SpaceToDepth move.
struct Blocks {
    known: Source,
    /// Places along a side of a block.
    side: usize,
    /// Shape of the input, (N, C, H, W).
    from: [usize; 4],
    /// Shape of the output.
    to: [usize; 4],
}

impl Blocks {
    fn of(c: &Context, outputs: &[Fact]) -> Option<Self> {
        let (known, dims) = source(c, 0)?;
        let (from, to) = (dims.try_into().ok()?, outputs[0].dims()?.try_into().ok()?);
        Some(Self { known, side: c.int("blocksize", 0) as usize, from, to })
    }
}

/// Blocks of channels spread over places: `DCR` has the place within a block ahead of the channels, `CRD` behind them.
pub(super) fn depth_to_space(c: &Context, outputs: &[Fact]) -> Values {
    let Some(blocks) = Blocks::of(c, outputs) else { return Ok(vec![None]) };
    let Blocks { known, side: block, from: [_, channels, height, width], to } = blocks;
    let depth = to[1];
    let by_depth = c.node.attrs.string("mode", "DCR") == "CRD";
    let mut index = Vec::with_capacity(to.iter().product());
    for (n, d, y, x) in places(to) {
        let inside = y % block * block + x % block;
        let channel = if by_depth { d * block * block + inside } else { inside * depth + d };
        index.push(((n * channels + channel) * height + y / block) * width + x / block);
    }
    Ok(vec![known.pick(&to, &index, None)])
}

/// Places of a block spread over channels, the place ahead of the channel.
pub(super) fn space_to_depth(c: &Context, outputs: &[Fact]) -> Values {
    let Some(blocks) = Blocks::of(c, outputs) else { return Ok(vec![None]) };
    let Blocks { known, side: block, from: [_, channels, height, width], to } = blocks;
    let [_, _, rows, columns] = to;
    // What does not divide is cut off by no rule.
    if height != rows * block || width != columns * block {
        return Ok(vec![None]);
    }
    let mut index = Vec::with_capacity(to.iter().product());
    for (n, d, y, x) in places(to) {
        let (inside, channel) = (d / channels, d % channels);
        let (row, column) = (y * block + inside / block, x * block + inside % block);
        index.push(((n * channels + channel) * height + row) * width + column);
    }
    Ok(vec![known.pick(&to, &index, None)])
}

/// All places of a tensor of four dimensions, the last running fastest.
fn places([n, c, h, w]: [usize; 4]) -> impl Iterator<Item = (usize, usize, usize, usize)> {
    (0..n).flat_map(move |n| (0..c).flat_map(move |c| (0..h).flat_map(move |y| (0..w).map(move |x| (n, c, y, x)))))
}

pub(super) fn slice(c: &Context, _: &[Fact]) -> Values {
    let Some((known, dims)) = source(c, 0) else { return Ok(vec![None]) };
    let Some(cuts) = cuts(c, dims.len())? else { return Ok(vec![None]) };
    let mut positions: Vec<Vec<usize>> = dims.iter().map(|size| (0..*size).collect()).collect();
    for cut in cuts {
        let (start, count) = cut.positions(dims[cut.axis]);
        let at = |i: usize| (start as i64).wrapping_add(cut.step.wrapping_mul(i as i64)) as usize;
        positions[cut.axis] = (0..count).map(at).collect();
    }
    Ok(vec![known.select(&dims, positions, None)])
}

pub(super) fn split(c: &Context, outputs: &[Fact]) -> Values {
    let none = Ok(vec![None; outputs.len()]);
    let (Some((known, dims)), Some(shape)) = (source(c, 0), c.shape(0)) else { return none };
    let axis = c.axis(c.int("axis", 0), dims.len())?;
    let Some(sizes) = split_sizes(c, shape, axis)? else { return none };
    let mut start = 0;
    let parts = sizes.into_iter().map(|size| {
        let mut positions: Vec<Vec<usize>> = dims.iter().map(|size| (0..*size).collect()).collect();
        positions[axis] = (start..start + size).collect();
        start += size;
        known.select(&dims, positions, None)
    });
    Ok(parts.collect())
}

pub(super) fn gather(c: &Context, outputs: &[Fact]) -> Values {
    let indices = c.fact(1).and_then(Fact::tensor).and_then(|indices| indices.to_i64());
    let (Some((known, dims)), Some(indices)) = (source(c, 0), indices) else { return Ok(vec![None]) };
    let axis = c.axis(c.int("axis", 0), dims.len())?;
    let position = |index: &i64| {
        let counted = if *index < 0 { index.checked_add_unsigned(dims[axis] as u64) } else { Some(*index) };
        counted
            .and_then(|i| usize::try_from(i).ok())
            .filter(|i| *i < dims[axis])
            .ok_or_else(|| Trouble::from(format!("index {index} is outside of dimension {axis} of {dims:?}")))
    };
    let mut positions: Vec<Vec<usize>> = dims.iter().map(|size| (0..*size).collect()).collect();
    positions[axis] = indices.iter().map(position).collect::<Result<_, _>>()?;
    let picked = known.select(&dims, positions, None);
    Ok(vec![picked.zip(outputs[0].dims()).map(|(picked, dims)| picked.with_dims(dims))])
}

pub(super) fn concat(c: &Context, outputs: &[Fact]) -> Values {
    let sources: Option<Vec<(Source, Vec<usize>)>> =
        (0..c.inputs.len()).filter(|i| c.has(*i)).map(|i| source(c, i)).collect();
    let (Some(sources), Some(dims)) = (sources, outputs[0].dims()) else { return Ok(vec![None]) };
    let axis = c.axis(c.int("axis", 0), dims.len())?;
    let outer: usize = dims[..axis].iter().product();
    // Each input has one run of elements per position of the axes before `axis`.
    let runs: Vec<usize> = sources.iter().map(|(_, dims)| dims[axis..].iter().product()).collect();
    let first: Vec<usize> = runs.iter().scan(0, |at, run| Some(std::mem::replace(at, *at + run * outer))).collect();
    let index: Vec<usize> = (0..outer)
        .flat_map(|o| runs.iter().zip(&first).flat_map(move |(run, first)| first + o * run..first + (o + 1) * run))
        .collect();
    let joined = Source::join(sources.into_iter().map(|(source, _)| source).collect());
    Ok(vec![joined.and_then(|joined| joined.pick(&dims, &index, None))])
}

/// Dimensions of size 1 repeated.
pub(super) fn expand(c: &Context, outputs: &[Fact]) -> Values {
    let (Some((known, dims)), Some(sizes)) = (source(c, 0), outputs[0].dims()) else { return Ok(vec![None]) };
    let index = broadcast_index(&dims, &sizes);
    Ok(vec![known.pick(&sizes, &index, None)])
}

pub(super) fn tile(c: &Context, outputs: &[Fact]) -> Values {
    let (Some((known, dims)), Some(sizes)) = (source(c, 0), outputs[0].dims()) else { return Ok(vec![None]) };
    let positions = dims.iter().zip(&sizes).map(|(size, tiled)| (0..*tiled).map(|i| i % size).collect()).collect();
    Ok(vec![known.select(&dims, positions, None)])
}

/// `mode` constant only: the others are for images.
pub(super) fn pad(c: &Context, _: &[Fact]) -> Values {
    let Some((known, dims)) = source(c, 0) else { return Ok(vec![None]) };
    let Some(pads) = pads(c, dims.len())? else { return Ok(vec![None]) };
    if c.node.attrs.string("mode", "constant") != "constant" || c.opset < 11 {
        return Ok(vec![None]);
    }
    let fill = match c.fact(2).map(|value| value.tensor()) {
        Some(Some(value)) => Some(Arc::clone(value)),
        Some(None) => return Ok(vec![None]),
        None => None,
    };
    let positions = dims.iter().zip(pads).map(|(size, (begin, end))| {
        let inside = |at: i64| usize::try_from(at).ok().filter(|at| at < size).unwrap_or(FILL);
        (begin.saturating_neg()..(*size as i64).saturating_add(end)).map(inside).collect()
    });
    Ok(vec![known.select(&dims, positions.collect(), Some(fill))])
}

/// Where each element of a tensor of shape `to` comes from when `from` is broadcast to it.
pub(super) fn broadcast_index(from: &[usize], to: &[usize]) -> Vec<usize> {
    let strides = strides(from);
    let missing = to.len().saturating_sub(from.len());
    let steps = to.iter().enumerate().map(|(axis, size)| match axis.checked_sub(missing) {
        Some(own) if from[own] != 1 => (0..*size).map(|i| i * strides[own]).collect(),
        _ => vec![0; *size],
    });
    combine(steps.collect())
}

/// Elements that can be moved.
enum Source {
    Tensor(Arc<TensorData>),
    Items(Vec<Item>),
}

fn source(c: &Context, input: usize) -> Option<(Source, Vec<usize>)> {
    match c.fact(input)?.known.as_ref()? {
        Known::Tensor(tensor) => {
            tensor.dtype.size()?;
            Some((Source::Tensor(Arc::clone(tensor)), tensor.dims.clone()))
        }
        Known::Items(items) => Some((Source::Items(items.items.clone()), items.dims.clone())),
    }
}

impl Source {
    /// The elements at the combinations of one position per axis. `fill` as in [`Source::pick`].
    fn select(
        &self,
        dims: &[usize],
        positions: Vec<Vec<usize>>,
        fill: Option<Option<Arc<TensorData>>>,
    ) -> Option<Known> {
        let sizes: Vec<usize> = positions.iter().map(Vec::len).collect();
        let strides = strides(dims);
        let steps = positions.into_iter().zip(strides).map(|(positions, stride)| {
            positions.into_iter().map(|at| if at == FILL { FILL } else { at * stride }).collect()
        });
        self.pick(&sizes, &combine(steps.collect()), fill)
    }

    /// The elements at `index`, in that order, in shape `dims`. `fill` says what stands where the index is [`FILL`]:
    /// the scalar, or zero where it holds none.
    fn pick(&self, dims: &[usize], index: &[usize], fill: Option<Option<Arc<TensorData>>>) -> Option<Known> {
        match self {
            Self::Tensor(tensor) => {
                let fill = fill.flatten().map_or(Vec::new(), |value| value.bytes.clone());
                let bytes = match tensor.dtype.size()? {
                    1 => pick_bytes::<1>(&tensor.bytes, index, &fill),
                    2 => pick_bytes::<2>(&tensor.bytes, index, &fill),
                    4 => pick_bytes::<4>(&tensor.bytes, index, &fill),
                    _ => pick_bytes::<8>(&tensor.bytes, index, &fill),
                };
                Some(Known::Tensor(Arc::new(TensorData { dtype: tensor.dtype, dims: dims.to_vec(), bytes: bytes? })))
            }
            Self::Items(items) => {
                let fill = match fill.flatten() {
                    Some(value) => value.to_i64()?.first().copied()?,
                    None => 0,
                };
                let picked = index.iter().map(|at| if *at == FILL { Item::Int(fill) } else { items[*at].clone() });
                Some(Known::Items(Items { dims: dims.to_vec(), items: picked.collect() }))
            }
        }
    }

    /// One behind the other; all of one type, or all as items.
    fn join(sources: Vec<Self>) -> Option<Self> {
        let tensors: Option<Vec<&Arc<TensorData>>> = sources.iter().map(Self::tensor).collect();
        if let Some(tensors) = tensors {
            let first = tensors.first()?;
            let bytes = tensors.iter().flat_map(|tensor| &tensor.bytes).copied().collect();
            let one_type = tensors.iter().all(|tensor| tensor.dtype == first.dtype);
            return one_type
                .then(|| Self::Tensor(Arc::new(TensorData { dtype: first.dtype, dims: Vec::new(), bytes })));
        }
        let items: Option<Vec<Vec<Item>>> = sources.into_iter().map(Self::items).collect();
        items.map(|items| Self::Items(items.concat()))
    }

    fn tensor(&self) -> Option<&Arc<TensorData>> {
        match self {
            Self::Tensor(tensor) => Some(tensor),
            Self::Items(_) => None,
        }
    }

    fn items(self) -> Option<Vec<Item>> {
        match self {
            Self::Tensor(tensor) => Items::of(&Known::Tensor(tensor)).map(|items| items.items),
            Self::Items(items) => Some(items),
        }
    }
}

/// Elements of `N` bytes; `None` where the fill is of another size.
fn pick_bytes<const N: usize>(bytes: &[u8], index: &[usize], fill: &[u8]) -> Option<Vec<u8>> {
    let fill: [u8; N] = if fill.is_empty() { [0; N] } else { fill.try_into().ok()? };
    let (elements, _) = bytes.as_chunks::<N>();
    let picked: Vec<[u8; N]> = index.iter().map(|at| if *at == FILL { fill } else { elements[*at] }).collect();
    Some(picked.into_flattened())
}

fn strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis];
    }
    strides
}

/// All sums of one step per axis, the last axis running fastest; [`FILL`] wins over any sum.
fn combine(steps: Vec<Vec<usize>>) -> Vec<usize> {
    steps.into_iter().fold(vec![0], |sums, steps| {
        let mut next = Vec::with_capacity(sums.len() * steps.len());
        for sum in sums {
            next.extend(steps.iter().map(|step| if sum == FILL || *step == FILL { FILL } else { sum + step }));
        }
        next
    })
}
