//! Scales and shifts, moved together by Adam.

use tch::Tensor;

use crate::compress::CompressError;
use crate::compress::train::optimisers::adam::Adam;

const DECAYS: (f64, f64) = (0.9, 0.999);

/// All vectors, one behind the other.
pub(super) struct Vectors {
    /// The place of each among all parameters, and its size.
    members: Vec<(usize, Vec<i64>)>,
    /// Their elements, of which the vectors are parts.
    elements: Tensor,
    adam: Adam,
}

impl Vectors {
    /// The vectors among these parameters, each of which becomes a part of one tensor; `None` if there are none.
    pub(super) fn gather(parameters: &mut [Tensor]) -> Result<Option<Self>, CompressError> {
        let vectors = parameters.iter().enumerate().filter(|(_, tensor)| tensor.dim() < 2);
        let members: Vec<(usize, Vec<i64>)> = vectors.map(|(at, tensor)| (at, tensor.size())).collect();
        if members.is_empty() {
            return Ok(None);
        }
        let elements = joined(&members, parameters)?.f_detach()?;
        for ((at, _), part) in members.iter().zip(parts(&members, &elements)?) {
            parameters[*at].f_set_data(&part)?;
        }
        Ok(Some(Self { adam: Adam::new(&elements, DECAYS), members, elements }))
    }

    /// The place of each vector among all parameters, and its part of Adam's moments with the number of steps.
    pub(super) fn state(&self) -> Result<Vec<(usize, Vec<Tensor>)>, CompressError> {
        let [first, second, steps] = self.adam.state();
        let moments = parts(&self.members, &first)?.into_iter().zip(parts(&self.members, &second)?);
        let of = |((at, _), (first, second)): (&(usize, Vec<i64>), (Tensor, Tensor))| {
            (*at, vec![first, second, steps.copy()])
        };
        Ok(self.members.iter().zip(moments).map(of).collect())
    }

    /// Takes it that so many steps are behind it.
    pub(super) fn went(&mut self, steps: i64) {
        self.adam.went(steps);
    }

    /// Moves every vector; `gradients` are those of all parameters.
    pub(super) fn step(&mut self, gradients: &[Tensor], rate: f64) -> Result<(), CompressError> {
        self.adam.step(&mut self.elements, &joined(&self.members, gradients)?, rate)
    }
}

/// The elements of the members among `all`, one behind the other.
fn joined(members: &[(usize, Vec<i64>)], all: &[Tensor]) -> Result<Tensor, CompressError> {
    let flat = members.iter().map(|(at, _)| all[*at].f_reshape([-1])).collect::<Result<Vec<_>, _>>()?;
    Ok(Tensor::f_cat(&flat, 0)?)
}

/// The members of joined elements; they share their memory.
fn parts(members: &[(usize, Vec<i64>)], elements: &Tensor) -> Result<Vec<Tensor>, CompressError> {
    let lengths: Vec<i64> = members.iter().map(|(_, size)| size.iter().product()).collect();
    let parts = elements.f_split_with_sizes(lengths.as_slice(), 0)?;
    members.iter().zip(parts).map(|((_, size), part)| Ok(part.f_view(size.as_slice())?)).collect()
}
