//! Kernels whose matrices have the same shape, moved together.

use indexmap::IndexMap;
use tch::Tensor;

use super::orthogonal::orthogonal;
use crate::compress::CompressError;

const MOMENTUM: f64 = 0.9;

/// Directions shorter than this are none: a gradient of zeros moves nothing.
const LEAST_NORM: f64 = 1e-30;

/// Kernels whose matrices (output channels × the rest) have the same shape.
pub(super) struct Kernels {
    members: Vec<Member>,
    /// (kernels, rows, columns), of which the kernels are parts.
    weights: Tensor,
    /// The same of their momenta.
    momenta: Tensor,
    /// A depthwise kernel is no matrix over channels: each of its rows stands for itself.
    depthwise: bool,
    /// Whether directions are found in bfloat16.
    narrow: bool,
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
    /// Groups the kernels among these parameters, each of which becomes a part of its group's tensor.
    pub(super) fn gather(parameters: &mut [Tensor], narrow: bool) -> Result<Vec<Self>, CompressError> {
        let mut groups: IndexMap<(i64, i64, bool), Vec<usize>> = IndexMap::new();
        for (at, tensor) in parameters.iter().enumerate().filter(|(_, tensor)| tensor.dim() > 1) {
            let size = tensor.size();
            groups.entry((size[0], size[1..].iter().product(), size[1] == 1)).or_default().push(at);
        }
        let group = |((_, _, depthwise), members)| Self::new(parameters, members, depthwise, narrow);
        groups.into_iter().map(group).collect()
    }

    fn new(
        parameters: &mut [Tensor],
        members: Vec<usize>,
        depthwise: bool,
        narrow: bool,
    ) -> Result<Self, CompressError> {
        let layout = |at: usize| {
            let size = parameters[at].size();
            Layout { channels_last: narrow && size.len() == 4, size }
        };
        let members: Vec<Member> = members.into_iter().map(|at| Member { at, layout: layout(at) }).collect();
        let matrix = |member: &Member| member.layout.matrix(&parameters[member.at].f_detach()?);
        let weights = Tensor::f_stack(&members.iter().map(matrix).collect::<Result<Vec<_>, _>>()?, 0)?;
        for (row, member) in members.iter().enumerate() {
            let part = member.layout.kernel(&weights.f_get(row as i64)?)?;
            parameters[member.at].f_set_data(&part)?;
        }
        Ok(Self { members, momenta: weights.f_zeros_like()?, weights, depthwise, narrow })
    }

    /// The place of each kernel among all parameters, and its momentum, which is a part of the group's.
    pub(super) fn state(&self) -> Result<Vec<(usize, Vec<Tensor>)>, CompressError> {
        let of = |(row, member): (usize, &Member)| {
            Ok((member.at, vec![member.layout.kernel(&self.momenta.f_get(row as i64)?)?]))
        };
        self.members.iter().enumerate().map(of).collect()
    }

    /// `m = 0.9 m + g`, `u = orthogonal(g + 0.9 m)`, `W -= rate · ‖W‖ · u / ‖u‖` of each kernel; `gradients` are those of all
    /// parameters.
    pub(super) fn step(&mut self, gradients: &[Tensor], rate: f64) -> Result<(), CompressError> {
        let matrix = |member: &Member| member.layout.matrix(&gradients[member.at]);
        let gradients = Tensor::f_stack(&self.members.iter().map(matrix).collect::<Result<Vec<_>, _>>()?, 0)?;
        let _ = self.momenta.f_mul_scalar_(MOMENTUM)?.f_add_(&gradients)?;
        let ahead = gradients + &self.momenta * MOMENTUM;
        let direction = match self.depthwise {
            true => &ahead / norms(&ahead, &[2])?,
            false => orthogonal(&ahead, self.narrow)?,
        };
        let length = self.weights.f_norm_scalaropt_dim(2.0, [1i64, 2].as_slice(), true)? * rate;
        let _ = self.weights.f_sub_(&(&direction * (length / norms(&direction, &[1, 2])?)))?;
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn in_float32(mut self) -> Self {
        self.narrow = false;
        self
    }
}

/// Euclidean norms along these axes, which are kept; none is zero.
fn norms(of: &Tensor, along: &[i64]) -> Result<Tensor, CompressError> {
    Ok(of.f_norm_scalaropt_dim(2.0, along, true)?.f_clamp_min(LEAST_NORM)?)
}

impl Layout {
    /// A kernel, or a tensor of its size, as a matrix.
    fn matrix(&self, tensor: &Tensor) -> Result<Tensor, CompressError> {
        let laid = if self.channels_last { tensor.f_permute([0, 2, 3, 1])? } else { tensor.shallow_clone() };
        Ok(laid.f_flatten(1, -1)?)
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
