//! The inputs of a layer at given positions of its output.

use tch::{Device, Tensor};

use crate::compress::CompressError;
use crate::compress::student::Student;
use crate::compress::student::layer::{Kind, Layer};
use crate::graph::Node;

/// The inputs of a layer.
pub(super) enum View {
    /// A convolution: a window of its input.
    Window(Window),
    /// A linear layer: a vector of this many numbers.
    Vector(usize),
}

impl View {
    /// `None` if a convolution has a padding that is not supported here.
    pub(super) fn of(student: &Student, layer: &Layer, node: &Node) -> Option<Self> {
        if layer.kind == Kind::Convolution {
            return Window::of(student, node).map(Self::Window);
        }
        Some(Self::Vector(layer.rows_of(&student.graph.initializers.get(node.input(1)?)?.dims)[1]))
    }

    /// Unknowns of one output channel, without its bias.
    pub(super) fn unknowns(&self) -> usize {
        match self {
            Self::Window(window) => window.unknowns(),
            Self::Vector(inputs) => *inputs,
        }
    }

    /// The layer's input → (r, p).
    pub(super) fn rows(&self, x: &Tensor, places: &Places) -> Result<Tensor, CompressError> {
        match (self, places) {
            (Self::Window(window), Places::OnMaps(places)) => window.rows(x, places),
            _ => places.of_outputs(x),
        }
    }
}

/// Some of the positions of a batch's outputs.
pub(super) enum Places {
    /// Of a convolution, (N, C, H, W).
    OnMaps(OnMaps),
    /// Of a linear layer, (…, C): rows of (n, C).
    InRows(Tensor),
}

impl Places {
    /// How many positions an output of this size has.
    pub(super) fn count(view: &View, size: &[i64]) -> usize {
        let positions: i64 = match view {
            View::Window(_) => size[0] * size[2] * size[3],
            View::Vector(_) => size[..size.len() - 1].iter().product(),
        };
        positions as usize
    }

    /// `kept` counts through all positions of an output of this size, as they lie in memory but for the channels.
    pub(super) fn of(view: &View, kept: &[usize], size: &[i64], device: Device) -> Result<Self, CompressError> {
        Ok(match view {
            View::Window(_) => Self::OnMaps(OnMaps::of(kept, [size[2] as usize, size[3] as usize], device)?),
            View::Vector(_) => {
                let rows: Vec<i64> = kept.iter().map(|&place| place as i64).collect();
                Self::InRows(Tensor::from_slice(&rows).f_to_device(device)?)
            }
        })
    }

    /// A value of the form of the layer's output → (r, C).
    pub(super) fn of_outputs(&self, value: &Tensor) -> Result<Tensor, CompressError> {
        match self {
            Self::OnMaps(places) => places.of_channels(value),
            Self::InRows(rows) => Ok(value.f_flatten(0, -2)?.f_index_select(0, rows)?),
        }
    }
}

/// Images and positions on their maps.
pub(super) struct OnMaps {
    image: Tensor,
    row: Tensor,
    column: Tensor,
}

impl OnMaps {
    /// `kept` counts through all positions, (H, W), of one image after the other.
    fn of(kept: &[usize], [height, width]: [usize; 2], device: Device) -> Result<Self, CompressError> {
        let told = |part: fn(usize, usize, usize) -> usize| {
            let indices: Vec<i64> = kept.iter().map(|&place| part(place, height, width) as i64).collect();
            Tensor::from_slice(&indices).f_to_device(device)
        };
        Ok(Self {
            image: told(|place, height, width| place / (height * width))?,
            row: told(|place, height, width| place / width % height)?,
            column: told(|place, _, width| place % width)?,
        })
    }

    /// (N, C, H, W) → (r, C).
    fn of_channels(&self, value: &Tensor) -> Result<Tensor, CompressError> {
        self.of_positions(&value.f_permute([0, 2, 3, 1])?)
    }

    /// (N, H, W, …) → (r, …).
    fn of_positions(&self, value: &Tensor) -> Result<Tensor, CompressError> {
        Ok(value.f_index(&[Some(&self.image), Some(&self.row), Some(&self.column)])?)
    }
}

/// The windows of a convolution.
pub(super) struct Window {
    channels: i64,
    kernel: [i64; 2],
    strides: [i64; 2],
    dilations: [i64; 2],
    /// Before and behind the height, before and behind the width.
    pads: [i64; 4],
}

impl Window {
    fn of(student: &Student, conv: &Node) -> Option<Self> {
        let weight = student.params.get(conv.input(1)?)?.size();
        let pair = |name: &str| match conv.attrs.ints(name) {
            Some(values) => <[i64; 2]>::try_from(values).ok(),
            None => Some([1, 1]),
        };
        let pads = match conv.attrs.string("auto_pad", "NOTSET") {
            "NOTSET" => conv.attrs.ints("pads").map_or(Some([0; 4]), |pads| <[i64; 4]>::try_from(pads).ok())?,
            "VALID" => [0; 4],
            _ => return None,
        };
        let [top, left, bottom, right] = pads;
        Some(Self {
            channels: weight[1],
            kernel: [weight[2], weight[3]],
            strides: pair("strides")?,
            dilations: pair("dilations")?,
            pads: [top, bottom, left, right],
        })
    }

    /// Unknowns of one output channel, without its bias.
    fn unknowns(&self) -> usize {
        (self.channels * self.kernel[0] * self.kernel[1]) as usize
    }

    /// (N, C, H, W) → (r, C·kH·kW), columns in the order of a kernel (M, C, kH, kW). The windows are views of the padded
    /// input, so that only those asked for are copied.
    fn rows(&self, x: &Tensor, places: &OnMaps) -> Result<Tensor, CompressError> {
        let [top, bottom, left, right] = self.pads;
        let mut windows = x.f_constant_pad_nd([left, right, top, bottom])?;
        for (axis, dim) in [(0, 2), (1, 3)] {
            let span = (self.kernel[axis] - 1) * self.dilations[axis] + 1;
            windows = windows.f_unfold(dim, span, self.strides[axis])?;
            windows = windows.f_slice(-1, 0, span, self.dilations[axis])?;
        }
        Ok(places.of_positions(&windows.f_permute([0, 2, 3, 1, 4, 5])?)?.f_flatten(1, -1)?)
    }
}
