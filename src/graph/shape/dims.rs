//! Rules that several operators share: broadcasting, equality, sliding windows.

use super::context::{Trouble, show};
use super::symbol;
use crate::graph::dim::{Dim, Shape};

/// NumPy's broadcasting (ONNX: Broadcasting). A free size against a fixed one other than 1 becomes the fixed one.
pub(crate) fn broadcast<'a>(shapes: impl IntoIterator<Item = &'a Shape>) -> Result<Shape, Trouble> {
    let mut result: Shape = Vec::new();
    for shape in shapes {
        let before = result.clone();
        if shape.len() > result.len() {
            let missing = shape.len() - result.len();
            result.splice(0..0, std::iter::repeat_n(Dim::Known(1), missing));
        }
        let offset = result.len() - shape.len();
        for (own, other) in result[offset..].iter_mut().zip(shape) {
            *own = broadcast_dim(own, other)
                .ok_or_else(|| format!("shapes {} and {} do not broadcast", show(&before), show(shape)))?;
        }
    }
    Ok(result)
}

fn broadcast_dim(a: &Dim, b: &Dim) -> Option<Dim> {
    match (a, b) {
        (Dim::Known(1), other) | (other, Dim::Known(1)) => Some(other.clone()),
        (Dim::Known(a), Dim::Known(b)) => (a == b).then_some(Dim::Known(*a)),
        (Dim::Known(size), _) | (_, Dim::Known(size)) => Some(Dim::Known(*size)),
        (a, b) if a == b => Some(a.clone()),
        _ => Some(Dim::Unknown),
    }
}

/// False only where two sizes are known to differ.
pub(crate) fn may_equal(a: &Dim, b: &Dim) -> bool {
    match (a, b) {
        (Dim::Known(a), Dim::Known(b)) => a == b,
        _ => true,
    }
}

/// The better known of two sizes that have to be equal.
pub(crate) fn merge(a: &Dim, b: &Dim) -> Dim {
    match (a, b) {
        (Dim::Known(_), _) | (Dim::Symbol(_), Dim::Symbol(_) | Dim::Unknown) => a.clone(),
        _ => b.clone(),
    }
}

/// How a convolution or pooling slides along one axis.
pub(crate) struct Window {
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    /// At the begin and at the end.
    pub pads: [i64; 2],
    /// `auto_pad` SAME_UPPER or SAME_LOWER: padded until the output has ⌈input / stride⌉ positions.
    pub same: bool,
    /// Round up, so that the last window may start inside and end outside.
    pub ceil: bool,
}

impl Window {
    /// Number of positions along an axis.
    pub fn positions(&self, size: &Dim) -> Result<Dim, Trouble> {
        let stride = i64::try_from(self.stride).ok().filter(|stride| *stride > 0);
        let stride = stride.ok_or_else(|| format!("stride {} is not positive", self.stride))?;
        if self.same {
            return Ok(symbol::ceil_divide(size, stride));
        }
        let reach = (self.kernel.checked_sub(1)).and_then(|k| i64::try_from(k.checked_mul(self.dilation)?).ok());
        let reach = reach.ok_or_else(|| format!("kernel size {} is not positive", self.kernel))?;
        // ⌊(size + pads - reach - 1) / stride⌋ + 1 = ⌈(size + pads - reach) / stride⌉
        let pads = self.pads[0].checked_add(self.pads[1]).ok_or_else(|| format!("pads {:?} overflow", self.pads))?;
        let room = pads.checked_sub(reach).ok_or_else(|| format!("pads {:?} overflow", self.pads))?;
        let starts = symbol::add(size, room);
        if let Dim::Known(known) = size
            && starts.known().is_none_or(|starts| starts == 0)
        {
            return Err(format!(
                "the kernel reaches over {} positions, but the input has {known} and {pads} of padding",
                reach.saturating_add(1)
            )
            .into());
        }
        if !self.ceil {
            return Ok(symbol::ceil_divide(&starts, stride));
        }
        Ok(self.rounded_up(size, &starts, stride))
    }

    /// With `ceil_mode`; a window that would start in the padding at the end does not count.
    fn rounded_up(&self, size: &Dim, starts: &Dim, stride: i64) -> Dim {
        let (Some(size), Some(starts), Ok(begin)) = (size.known(), starts.known(), usize::try_from(self.pads[0]))
        else {
            return if stride == 1 { starts.clone() } else { Dim::Unknown };
        };
        let positions = (starts - 1).div_ceil(self.stride) + 1;
        let outside = (positions - 1).saturating_mul(self.stride) >= size.saturating_add(begin);
        Dim::Known(if outside { positions - 1 } else { positions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(kernel: usize, stride: usize, pad: i64) -> Window {
        Window { kernel, stride, dilation: 1, pads: [pad, pad], same: false, ceil: false }
    }

    #[test]
    fn positions_of_a_known_size() {
        let known = |w: &Window, size: usize| w.positions(&Dim::Known(size)).expect("fits").known();
        assert_eq!(known(&window(3, 1, 1), 32), Some(32));
        assert_eq!(known(&window(3, 2, 1), 32), Some(16));
        assert_eq!(known(&window(7, 2, 3), 224), Some(112));
        assert_eq!(known(&Window { ceil: true, ..window(3, 2, 0) }, 112), Some(56));
        assert_eq!(known(&Window { ceil: true, ..window(2, 2, 1) }, 5), Some(3), "the fourth window starts outside");
        assert_eq!(known(&Window { same: true, ..window(3, 2, 0) }, 5), Some(3));
        assert_eq!(known(&Window { dilation: 2, ..window(3, 1, 2) }, 8), Some(8));
        assert!(window(5, 1, 0).positions(&Dim::Known(4)).is_err());
    }

    #[test]
    fn a_free_size_keeps_or_halves_its_name() {
        let h = Dim::Symbol("H".into());
        assert_eq!(window(3, 1, 1).positions(&h).expect("fits"), h);
        let (conv, shortcut) =
            (window(3, 2, 1).positions(&h).expect("fits"), window(1, 2, 0).positions(&h).expect("fits"));
        assert_eq!(conv, shortcut);
        assert_eq!(conv, Dim::Symbol("ceil(H/2)".into()));
    }

    #[test]
    fn broadcasting_prefers_what_is_known() {
        let n = Dim::Symbol("N".into());
        let result = broadcast([&vec![n.clone(), Dim::Known(1), Dim::Unknown], &vec![Dim::Known(8), Dim::Known(4)]]);
        assert_eq!(result.expect("broadcasts"), [n, Dim::Known(8), Dim::Known(4)]);
        let error = broadcast([&vec![Dim::Known(3)], &vec![Dim::Known(4)]]).expect_err("3 and 4 differ");
        assert!(error.detail.contains("(3) and (4)"), "{}", error.detail);
    }
}
