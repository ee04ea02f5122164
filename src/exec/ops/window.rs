//! The sliding window shared by convolutions and pools: kernel, strides, dilations and padding.

use tch::Tensor;

use super::super::kernel::{Cause, Refusal, Spec, refuse};

/// A window over the spatial axes (the last one to three).
pub(super) struct Window {
    pub kernel: Vec<i64>,
    pub strides: Vec<i64>,
    pub dilations: Vec<i64>,
    padding: Padding,
}

enum Padding {
    /// Elements before and after each axis.
    Explicit(Vec<(i64, i64)>),
    /// `SAME_UPPER` (the odd element goes behind) or `SAME_LOWER`: depends on the input's size.
    Same { upper: bool },
}

impl Window {
    /// Reads the attributes; `kernel` stands in where `kernel_shape` is absent.
    pub(super) fn of(spec: &Spec, kernel: Option<Vec<i64>>) -> Result<Self, Refusal> {
        let attrs = &spec.node.attrs;
        let Some(kernel) = attrs.ints("kernel_shape").map(<[i64]>::to_vec).or(kernel) else {
            return refuse("the kernel's size is not known before it runs");
        };
        if !(1..=3).contains(&kernel.len()) {
            return refuse(format!("a window over {} axes is not supported", kernel.len()));
        }
        let ones = vec![1; kernel.len()];
        let read = |name| attrs.ints(name).map_or_else(|| ones.clone(), <[i64]>::to_vec);
        let (strides, dilations) = (read("strides"), read("dilations"));
        let padding = Padding::of(spec, kernel.len())?;
        for (name, values) in [("kernel_shape", &kernel), ("strides", &strides), ("dilations", &dilations)] {
            if values.len() != kernel.len() || values.iter().any(|value| *value < 1) {
                return refuse(format!("{name} {values:?} does not fit a window over {} axes", kernel.len()));
            }
            within_reach(name, values)?;
        }
        for (kernel, dilation) in kernel.iter().zip(&dilations) {
            within_reach("dilated kernel_shape", &[(kernel - 1) * dilation + 1])?;
        }
        Ok(Self { kernel, strides, dilations, padding })
    }

    /// How far the window reaches along each axis.
    pub(super) fn extent(&self, axis: usize) -> i64 {
        (self.kernel[axis] - 1) * self.dilations[axis] + 1
    }

    /// Padding before and after each axis for an input of these spatial sizes.
    pub(super) fn pads(&self, sizes: &[i64]) -> Vec<(i64, i64)> {
        match &self.padding {
            Padding::Explicit(pads) => pads.clone(),
            Padding::Same { upper } => {
                (0..self.kernel.len()).map(|axis| self.same(axis, sizes[axis], *upper)).collect()
            }
        }
    }

    /// True for `SAME_UPPER` and `SAME_LOWER`.
    pub(super) fn is_same(&self) -> bool {
        matches!(self.padding, Padding::Same { .. })
    }

    pub(super) fn is_same_upper(&self) -> bool {
        matches!(self.padding, Padding::Same { upper: true })
    }

    /// True if the window has gaps along some axis.
    pub(super) fn is_dilated(&self) -> bool {
        self.dilations.iter().any(|dilation| *dilation > 1)
    }

    fn same(&self, axis: usize, size: i64, upper: bool) -> (i64, i64) {
        let steps = (size + self.strides[axis] - 1) / self.strides[axis];
        let total = ((steps - 1) * self.strides[axis] + self.extent(axis) - size).max(0);
        let (small, large) = (total / 2, total - total / 2);
        if upper { (small, large) } else { (large, small) }
    }
}

impl Padding {
    fn of(spec: &Spec, axes: usize) -> Result<Self, Refusal> {
        let pads = match spec.node.attrs.string("auto_pad", "NOTSET") {
            "SAME_UPPER" => return Ok(Self::Same { upper: true }),
            "SAME_LOWER" => return Ok(Self::Same { upper: false }),
            "VALID" => vec![0; 2 * axes],
            "NOTSET" => spec.node.attrs.ints("pads").map_or_else(|| vec![0; 2 * axes], <[i64]>::to_vec),
            other => return refuse(format!("auto_pad \"{other}\" is unknown")),
        };
        if pads.len() != 2 * axes {
            return refuse(format!("pads {pads:?} does not fit a window over {axes} axes"));
        }
        within_reach("pads", &pads)?;
        Ok(Self::Explicit((0..axes).map(|axis| (pads[axis], pads[axes + axis])).collect()))
    }
}

/// Refuses what no window reaches over, so that products of two such numbers and a few sums of them are numbers still.
pub(super) fn within_reach(name: &str, values: &[i64]) -> Result<(), Refusal> {
    const MOST: u64 = 1 << 31;
    match values.iter().find(|value| value.unsigned_abs() > MOST) {
        Some(value) => refuse(format!("{name} has {value}, more than the limit of {MOST}")),
        None => Ok(()),
    }
}

/// The spatial sizes of a tensor, checked to be as many as the window has axes.
pub(super) fn spatial(x: &Tensor, axes: usize) -> Result<Vec<i64>, Cause> {
    let size = x.size();
    if size.len() == axes + 2 {
        Ok(size[2..].to_vec())
    } else {
        Err(Cause::Message(format!("a tensor of rank {} was expected, got {size:?}", axes + 2)))
    }
}

/// The amount before each axis, where it equals the amount behind on all of them and is not negative.
pub(super) fn symmetric(pads: &[(i64, i64)]) -> Option<Vec<i64>> {
    pads.iter().map(|(before, after)| (before == after && *before >= 0).then_some(*before)).collect()
}

/// Pads the last axes with a value; a negative amount crops.
pub(super) fn pad(x: &Tensor, pads: &[(i64, i64)], value: f64) -> Result<Tensor, Cause> {
    if pads.iter().all(|pad| *pad == (0, 0)) {
        // Torch would copy.
        return Ok(x.shallow_clone());
    }
    let innermost_first: Vec<i64> = pads.iter().rev().flat_map(|(before, after)| [*before, *after]).collect();
    Ok(x.f_pad(innermost_first, "constant", value)?)
}
