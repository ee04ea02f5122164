//! Resize and its forerunner Upsample: nearest and linear, axis by axis.
//!
//! What PyTorch exports (`F.interpolate` over H and W) runs as torch's own kernels; everything else by picking elements at
//! places computed here, as the operator page defines them.

use tch::Tensor;

use super::super::kernel::{Built, Call, Cause, Floats, Ints, Refusal, Spec, axis, fail, one, refuse};
use super::index::{pick, places};

pub(super) fn resize(spec: &Spec) -> Built {
    let attrs = &spec.node.attrs;
    for (name, plain) in [("antialias", 0), ("exclude_outside", 0)] {
        if attrs.int(name, plain) != plain {
            return refuse(format!("{name} is not supported"));
        }
    }
    if attrs.string("keep_aspect_ratio_policy", "stretch") != "stretch" {
        return refuse("keep_aspect_ratio_policy other than \"stretch\" is not supported");
    }
    // Opset 10 had no region of interest, no sizes, and one way to place elements.
    let old = spec.opset < 11;
    let resize = Resize {
        linear: is_linear(spec)?,
        place: if old {
            Place::Asymmetric
        } else {
            Place::of(attrs.string("coordinate_transformation_mode", "half_pixel"))?
        },
        round: if old { Round::Simple } else { Round::of(attrs.string("nearest_mode", "round_prefer_floor"))? },
        scales: spec.floats_input(if old { 1 } else { 2 }),
        sizes: if old { Ints::Absent } else { spec.ints_input(3) },
        axes: attrs.ints("axes").map(<[i64]>::to_vec),
    };
    if matches!((&resize.place, &resize.scales), (Place::AlignCorners, Floats::Input(_))) {
        return refuse(
            "align_corners with scales that the network computes is not supported (ONNX and ONNX Runtime differ)",
        )
        .map_err(|refusal| refusal.hint("export with sizes, or with constant scales"));
    }
    one(move |call| resize.run(call))
}

/// Scales are an attribute before opset 9, an input in 9; Resize took over with 10.
pub(super) fn upsample(spec: &Spec) -> Built {
    let scales = match spec.node.attrs.get("scales") {
        Some(crate::graph::Attribute::Floats(scales)) => Floats::Fixed(scales.iter().map(|s| f64::from(*s)).collect()),
        _ => spec.floats_input(1),
    };
    let linear = is_linear(spec)?;
    let resize =
        Resize { linear, place: Place::Asymmetric, round: Round::Simple, scales, sizes: Ints::Absent, axes: None };
    one(move |call| resize.run(call))
}

fn is_linear(spec: &Spec) -> Result<bool, Refusal> {
    match spec.node.attrs.string("mode", "nearest") {
        "nearest" => Ok(false),
        "linear" => Ok(true),
        other => refuse(format!("mode \"{other}\" is not supported")),
    }
}

struct Resize {
    linear: bool,
    place: Place,
    round: Round,
    scales: Floats,
    sizes: Ints,
    axes: Option<Vec<i64>>,
}

/// One axis to resize.
struct Along {
    axis: i64,
    from: i64,
    to: i64,
    scale: f32,
}

impl Resize {
    fn run(&self, call: &Call) -> Result<Tensor, Cause> {
        let x = call.tensor(0)?;
        let along = self.along(call, x)?;
        if let Some(result) = self.by_torch(x, &along)? {
            return Ok(result);
        }
        along.iter().try_fold(x.shallow_clone(), |x, along| self.one_axis(&x, along))
    }

    /// The axes whose size changes.
    fn along(&self, call: &Call, x: &Tensor) -> Result<Vec<Along>, Cause> {
        let axes = self.axes.clone().unwrap_or_else(|| (0..x.dim() as i64).collect());
        let sizes = self.sizes.read(call)?.filter(|sizes| !sizes.is_empty());
        let scales = self.scales.read(call)?.filter(|scales| !scales.is_empty());
        let count = sizes.as_ref().map(|s| s.len()).or(scales.as_ref().map(|s| s.len()));
        if count != Some(axes.len()) {
            return fail(format!("scales or sizes for {} axes are needed", axes.len()));
        }
        let mut all = Vec::new();
        for (index, at) in axes.iter().enumerate() {
            let axis = axis(*at, x.dim())?;
            let from = x.size()[axis as usize];
            let (to, scale) = match (&sizes, &scales) {
                (Some(sizes), _) => (sizes[index], sizes[index] as f32 / from as f32),
                (None, Some(scales)) => ((from as f32 * scales[index] as f32).floor() as i64, scales[index] as f32),
                (None, None) => (from, 1.0),
            };
            if to < 1 || from < 1 {
                return fail(format!("axis {axis} would go from {from} to {to}"));
            }
            if to != from || scale != 1.0 {
                all.push(Along { axis, from, to, scale });
            }
        }
        Ok(all)
    }

    /// Torch's kernel, if there is one that places elements alike.
    fn by_torch(&self, x: &Tensor, along: &[Along]) -> Result<Option<Tensor>, Cause> {
        let [h, w] = along else { return Ok(None) };
        if x.dim() != 4 || (h.axis, w.axis) != (2, 3) || h.to < 2 || w.to < 2 {
            return Ok(None);
        }
        let (size, scales) = ([h.to, w.to], (f64::from(h.scale), f64::from(w.scale)));
        Ok(match (self.linear, &self.place, &self.round) {
            (false, Place::Asymmetric, Round::Floor) => Some(x.f_upsample_nearest2d(size, scales.0, scales.1)?),
            (true, Place::HalfPixel | Place::PytorchHalfPixel, _) => {
                Some(x.f_upsample_bilinear2d(size, false, scales.0, scales.1)?)
            }
            (true, Place::AlignCorners, _) => Some(x.f_upsample_bilinear2d(size, true, None, None)?),
            _ => None,
        })
    }

    fn one_axis(&self, x: &Tensor, along: &Along) -> Result<Tensor, Cause> {
        let last = along.from - 1;
        let originals = (0..along.to).map(|at| self.place.original(at as f32, along));
        if !self.linear {
            let picks = originals.map(|at| self.round.apply(at, along.scale).clamp(0, last));
            return pick(x, along.axis, &places(along.to, picks)?);
        }
        let inside = places(along.to, originals.map(|at| at.clamp(0.0, last as f32)))?;
        let below = places(along.to, inside.iter().map(|at| (at.floor() as i64).min(last)))?;
        let above = places(along.to, below.iter().map(|at| (at + 1).min(last)))?;
        let weights = places(along.to, inside.iter().zip(&below).map(|(at, below)| at - *below as f32))?;
        let mut shape = vec![1; x.dim()];
        shape[along.axis as usize] = along.to;
        let weights =
            Tensor::f_from_slice(&weights)?.f_reshape(shape)?.f_to_kind(x.f_kind()?)?.f_to_device(x.device())?;
        Ok(pick(x, along.axis, &below)?.f_lerp_tensor(&pick(x, along.axis, &above)?, &weights)?)
    }
}

/// Which place of the input an element of the output stands for; `coordinate_transformation_mode`.
enum Place {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    TfHalfPixelForNn,
}

impl Place {
    fn of(name: &str) -> Result<Self, Refusal> {
        Ok(match name {
            "half_pixel" => Self::HalfPixel,
            "half_pixel_symmetric" => Self::HalfPixelSymmetric,
            "pytorch_half_pixel" => Self::PytorchHalfPixel,
            "align_corners" => Self::AlignCorners,
            "asymmetric" => Self::Asymmetric,
            "tf_half_pixel_for_nn" => Self::TfHalfPixelForNn,
            other => return refuse(format!("coordinate_transformation_mode \"{other}\" is not supported")),
        })
    }

    /// In f32, as ONNX Runtime computes it, so that ties fall the same way.
    fn original(&self, at: f32, along: &Along) -> f32 {
        let (from, to, scale) = (along.from as f32, along.to as f32, along.scale);
        let centred = (at + 0.5) / scale - 0.5;
        match self {
            Self::HalfPixel => centred,
            Self::HalfPixelSymmetric => from / 2.0 * (1.0 - to / (scale * from)) + centred,
            Self::PytorchHalfPixel if along.to > 1 => centred,
            // Over the whole length that comes out, as ONNX Runtime has it; the operator page has the one that the scale gives.
            Self::AlignCorners if along.to > 1 => at * (from - 1.0) / (to - 1.0),
            Self::PytorchHalfPixel | Self::AlignCorners => 0.0,
            Self::Asymmetric => at / scale,
            Self::TfHalfPixelForNn => (at + 0.5) / scale,
        }
    }
}

/// Which whole place is nearest; `nearest_mode`.
enum Round {
    PreferFloor,
    PreferCeil,
    Floor,
    Ceil,
    /// Of opsets before 11: down, but up where the axis shrinks.
    Simple,
}

impl Round {
    fn of(name: &str) -> Result<Self, Refusal> {
        Ok(match name {
            "round_prefer_floor" => Self::PreferFloor,
            "round_prefer_ceil" => Self::PreferCeil,
            "floor" => Self::Floor,
            "ceil" => Self::Ceil,
            other => return refuse(format!("nearest_mode \"{other}\" is not supported")),
        })
    }

    fn apply(&self, at: f32, scale: f32) -> i64 {
        let whole = match self {
            Self::PreferFloor => (at - 0.5).ceil(),
            Self::PreferCeil => (at + 0.5).floor(),
            Self::Floor => at.floor(),
            Self::Ceil => at.ceil(),
            Self::Simple if scale < 1.0 => at.ceil(),
            Self::Simple => at.floor(),
        };
        whole as i64
    }
}
