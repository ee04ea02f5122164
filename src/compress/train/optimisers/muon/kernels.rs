//! Kernels, moved together: element by element all at once, as matrices those of one shape at once.

use indexmap::IndexMap;
use tch::Tensor;

use super::orthogonal::orthogonal;
use crate::compress::CompressError;

const MOMENTUM: f64 = 0.9;

/// Directions shorter than this are none: a gradient of zeros moves nothing.
const LEAST_NORM: f64 = 1e-30;

/// All kernels among the parameters.
pub(super) struct Kernels {
    groups: Vec<Group>,
    /// The elements of all groups, one behind the other, of which the kernels are parts.
    weights: Tensor,
    /// The same of their momenta.
    momenta: Tensor,
    /// Whether directions are found in bfloat16.
    narrow: bool,
}

/// Kernels whose matrices (output channels × the rest) have the same shape.
struct Group {
    members: Vec<Member>,
    rows: i64,
    columns: i64,
    /// A depthwise kernel is no matrix over channels: each of its rows stands for itself.
    depthwise: bool,
}

/// A kernel of the group.
struct Member {
    /// Its place among all parameters.
    at: usize,
    layout: Layout,
}

/// How a kernel lies in memory as a matrix.
#[derive(Debug, Clone)]
struct Layout {
    size: Vec<i64>,
    /// Input channels last, for kernels of two spatial axes.
    channels_last: bool,
}

impl Kernels {
    /// Gathers the kernels among these parameters, each of which becomes a part of one tensor; `None` if there are none.
    pub(super) fn gather(parameters: &mut [Tensor], narrow: bool) -> Result<Option<Self>, CompressError> {
        let groups = Group::all(parameters, narrow);
        if groups.is_empty() {
            return Ok(None);
        }
        let weights = joined(&groups, parameters)?.f_detach()?;
        for (group, matrices) in groups.iter().zip(parts(&groups, &weights)?) {
            for (row, member) in group.members.iter().enumerate() {
                let part = member.layout.kernel(&matrices.f_get(row as i64)?)?;
                parameters[member.at].f_set_data(&part)?;
            }
        }
        Ok(Some(Self { groups, momenta: weights.f_zeros_like()?, weights, narrow }))
    }

    /// The place of each kernel among all parameters, and its momentum, which is a part of all.
    pub(super) fn state(&self) -> Result<Vec<(usize, Vec<Tensor>)>, CompressError> {
        let mut states = Vec::new();
        for (group, momenta) in self.groups.iter().zip(parts(&self.groups, &self.momenta)?) {
            for (row, member) in group.members.iter().enumerate() {
                states.push((member.at, vec![member.layout.kernel(&momenta.f_get(row as i64)?)?]));
            }
        }
        Ok(states)
    }

    /// `m = 0.9 m + g`, `u = orthogonal(g + 0.9 m)`, `W -= rate · ‖W‖ · u / ‖u‖` of each kernel; `gradients` are those of all
    /// parameters.
    pub(super) fn step(&mut self, gradients: &[Tensor], rate: f64) -> Result<(), CompressError> {
        let gradients = joined(&self.groups, gradients)?;
        let _ = self.momenta.f_mul_scalar_(MOMENTUM)?.f_add_(&gradients)?;
        let ahead = gradients + &self.momenta * MOMENTUM;
        let directions = self.directions(parts(&self.groups, &ahead)?)?;
        for (mut weights, direction) in parts(&self.groups, &self.weights)?.into_iter().zip(directions) {
            let length = weights.f_norm_scalaropt_dim(2.0, [1i64, 2].as_slice(), true)? * -rate;
            let _ = weights.f_addcmul_(&direction, &(length / norms(&direction, &[1, 2])?))?;
        }
        Ok(())
    }

    /// Of each group, for its matrices.
    fn directions(&self, ahead: Vec<Tensor>) -> Result<Vec<Tensor>, CompressError> {
        let whole: Vec<Tensor> = self
            .groups
            .iter()
            .zip(&ahead)
            .filter(|(group, _)| !group.depthwise)
            .map(|(_, all)| all.shallow_clone())
            .collect();
        let mut whole = orthogonal(&whole, self.narrow)?.into_iter();
        let of = |(group, matrices): (&Group, &Tensor)| match group.depthwise {
            true => Ok(matrices / norms(matrices, &[2])?),
            false => Ok(whole.next().expect("one for each group of matrices")),
        };
        self.groups.iter().zip(&ahead).map(of).collect()
    }

    #[cfg(test)]
    pub(super) fn in_float32(mut self) -> Self {
        self.narrow = false;
        self
    }
}

impl Group {
    fn all(parameters: &[Tensor], channels_last: bool) -> Vec<Self> {
        let mut groups: IndexMap<(i64, i64, bool), Vec<Member>> = IndexMap::new();
        for (at, tensor) in parameters.iter().enumerate().filter(|(_, tensor)| tensor.dim() > 1) {
            let size = tensor.size();
            let shape = (size[0], size[1..].iter().product(), size[1] == 1);
            let layout = Layout { channels_last: channels_last && size.len() == 4, size };
            groups.entry(shape).or_default().push(Member { at, layout });
        }
        let group = |((rows, columns, depthwise), members)| Self { members, rows, columns, depthwise };
        groups.into_iter().map(group).collect()
    }
}

/// The elements of the members among `all`, one behind the other.
fn joined(groups: &[Group], all: &[Tensor]) -> Result<Tensor, CompressError> {
    let members = groups.iter().flat_map(|group| &group.members);
    let elements = members.map(|member| member.layout.elements(&all[member.at])).collect::<Result<Vec<_>, _>>()?;
    Ok(Tensor::f_cat(&elements, 0)?)
}

/// The groups of joined elements, (kernels, rows, columns) each; they share their memory.
fn parts(groups: &[Group], elements: &Tensor) -> Result<Vec<Tensor>, CompressError> {
    let shapes: Vec<[i64; 3]> =
        groups.iter().map(|group| [group.members.len() as i64, group.rows, group.columns]).collect();
    let lengths: Vec<i64> = shapes.iter().map(|shape| shape.iter().product()).collect();
    let parts = elements.f_split_with_sizes(lengths.as_slice(), 0)?;
    Ok(parts.into_iter().zip(shapes).map(|(part, shape)| part.f_view(shape)).collect::<Result<_, _>>()?)
}

/// Euclidean norms along these axes, which are kept; none is zero.
fn norms(of: &Tensor, along: &[i64]) -> Result<Tensor, CompressError> {
    Ok(of.f_norm_scalaropt_dim(2.0, along, true)?.f_clamp_min(LEAST_NORM)?)
}

impl Layout {
    /// A kernel, or a tensor of its size, as the elements of its matrix, row by row.
    fn elements(&self, tensor: &Tensor) -> Result<Tensor, CompressError> {
        let laid = if self.channels_last { tensor.f_permute([0, 2, 3, 1])? } else { tensor.shallow_clone() };
        Ok(laid.f_reshape([-1])?)
    }

    /// The kernel that a matrix is; they share their memory.
    fn kernel(&self, matrix: &Tensor) -> Result<Tensor, CompressError> {
        match (self.channels_last, self.size.as_slice()) {
            (true, &[outputs, inputs, height, width]) => {
                Ok(matrix.f_view([outputs, height, width, inputs])?.f_permute([0, 3, 1, 2])?)
            }
            _ => Ok(matrix.f_view(self.size.as_slice())?),
        }
    }
}
