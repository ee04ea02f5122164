//! Inputs other than the image input, and their values, which are the same in every engine.
//!
//! A second image input, of the images' size and channels, is fed the job's images mirrored, so that the two differ and each
//! output still depends on one image only. Any other input is fed the job's value, the same for every image; one number fills a
//! map of the images' size. An input that no node reads is fed zeros. In the graph that is run, these are nodes
//! ([`super::bind`]); the file keeps its inputs.

use tch::{Kind, Tensor};

use super::ImageInput;
use crate::graph::dim::dim_text;
use crate::graph::{DataType, Dim, Graph, TensorData, ValueInfo};
use crate::latency::Input;
use crate::network::{NetworkError, elements};
use crate::onnxruntime::Elements;
use crate::spec::analysis::Layout;
use crate::spec::inputs::{Given, SideInputInfo, Value, faults};

/// An input other than the image input.
#[derive(Debug, Clone, PartialEq)]
pub struct SideInput {
    /// Name.
    pub name: String,
    dtype: DataType,
    /// Sizes for one image, without the batch dimension.
    dims: Vec<Size>,
    /// Whether its first dimension is the batch.
    pub(crate) batched: bool,
    pub(crate) feed: Feed,
    /// Whether a job can feed it the images instead.
    may_take_images: bool,
}

/// One size of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    Fixed(usize),
    /// The images' height.
    Height,
    /// The images' width.
    Width,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Feed {
    /// The images, each mirrored from left to right, with their dimensions in this order.
    Mirrored(Layout),
    /// The job's value; 0 until it is set.
    Value(Value),
    /// Zeros, because no node reads it.
    Nothing,
}

/// The oldest operator set in which the nodes of [`super::bind`] exist.
const OLDEST_OPSET: i64 = 10;

/// Every input except the image input. A missing value, or one of the wrong length, is 0 here and refused by [`check`].
pub fn find(graph: &Graph, image: &ImageInput, given: &Given) -> Result<Vec<SideInput>, NetworkError> {
    let others: Vec<&ValueInfo> = graph.inputs.iter().filter(|input| input.name != image.file_name).collect();
    if others.iter().any(|input| graph.is_read(&input.name)) && graph.opset() < OLDEST_OPSET {
        return refuse(format!(
            "the network has {} inputs; with operator set {} one is supported: export it with opset_version={OLDEST_OPSET} or newer",
            graph.inputs.len(),
            graph.opset()
        ));
    }
    let mut images = Images { graph, input: image, left: MOST_ELEMENTS };
    others.into_iter().map(|info| SideInput::of(info, &mut images, given.get(&info.name))).collect()
}

/// Maximum number of elements of all inputs together, for one image.
const MOST_ELEMENTS: usize = 1 << 20;

/// The image input, and the budget of elements.
struct Images<'a> {
    graph: &'a Graph,
    input: &'a ImageInput,
    /// Remaining budget of [`MOST_ELEMENTS`].
    left: usize,
}

/// The same as an error.
pub fn check(image: &ImageInput, companions: &[SideInput], given: &Given) -> Result<(), NetworkError> {
    let infos: Vec<SideInputInfo> = companions.iter().map(SideInput::info).collect();
    let faults = faults(&image.file_name, &infos, given).into_iter();
    let faults: Vec<String> = faults.map(|fault| format!("{}: {}", fault.detail, fault.hint)).collect();
    if faults.is_empty() { Ok(()) } else { refuse(faults.join("; ")) }
}

fn refuse<T>(detail: String) -> Result<T, NetworkError> {
    Err(NetworkError::ModelInterface(detail))
}

impl SideInput {
    fn of(info: &ValueInfo, images: &mut Images, given: Option<&Value>) -> Result<Self, NetworkError> {
        let (name, dtype) = (&info.name, info.ty.dtype);
        if !images.graph.is_read(name) {
            return images.unused(info);
        }
        let as_images = ImageInput::from(info, images.graph).ok();
        let mirrored = as_images.as_ref().filter(|other| images.are_like(other) && given.is_none());
        if mirrored.is_none() && ![DataType::Float32, DataType::Int64].contains(&dtype) {
            return refuse(format!(
                "input \"{name}\" is {dtype:?}; other inputs than the images must be float32 or int64"
            ));
        }
        let Some(shape) = &info.ty.shape else {
            return refuse(format!("input \"{name}\" has no shape; export the network with its shape"));
        };
        let batched = images.batched(name, shape, as_images.is_some())?;
        let may_take_images = as_images.is_some();
        if let Some(other) = mirrored.filter(|_| batched) {
            let feed = Feed::Mirrored(other.layout);
            let dims = images.sizes(name, shape, batched)?;
            return Ok(Self { name: name.clone(), dtype, dims, batched, feed, may_take_images });
        }
        let dims = images.sizes(name, shape, batched)?;
        let feed = Feed::Value(images.value(name, given, &dims)?);
        Ok(Self { name: name.clone(), dtype, dims, batched, feed, may_take_images })
    }

    fn is_mirrored(&self) -> bool {
        matches!(self.feed, Feed::Mirrored(..))
    }

    /// Sizes for one image of this height and width.
    pub(crate) fn dims_at(&self, (height, width): (usize, usize)) -> Vec<usize> {
        let at = |size: &Size| match size {
            Size::Fixed(size) => *size,
            Size::Height => height,
            Size::Width => width,
        };
        self.dims.iter().map(at).collect()
    }

    fn of_images_size(&self) -> bool {
        self.dims.iter().any(|size| !matches!(size, Size::Fixed(_)))
    }

    /// Number of floats that [`super::bind`] adds to a graph for its value at this size, if the graph reads them.
    pub fn floats_in(&self, graph: &Graph, size: (usize, usize)) -> usize {
        let read = graph.nodes.iter().any(|node| node.outputs.contains(&self.name));
        let floats = self.dtype == DataType::Float32 && !self.is_mirrored();
        if read && floats { self.dims_at(size).iter().product() } else { 0 }
    }

    /// Its description for customers.
    pub fn info(&self) -> SideInputInfo {
        let (of_images_size, unused) = (self.of_images_size(), self.feed == Feed::Nothing);
        SideInputInfo {
            name: self.name.clone(),
            needs_value: matches!(self.feed, Feed::Value(_)),
            elements: if of_images_size { 1 } else { self.dims_at((1, 1)).iter().product() },
            whole_numbers: self.dtype == DataType::Int64,
            of_images_size,
            may_take_images: self.may_take_images,
            unused,
        }
    }

    /// Its value in words; `None` if no node reads it.
    pub fn told(&self) -> Option<String> {
        Some(match &self.feed {
            Feed::Mirrored(_) => format!("`{}` the images, mirrored", self.name),
            Feed::Value(Value::All(number)) => format!("`{}` {number}", self.name),
            Feed::Value(Value::Each(values)) => match values.as_slice() {
                [first, rest @ ..] if rest.iter().all(|value| value == first) => format!("`{}` {first}", self.name),
                _ => format!("`{}` the job's {} numbers", self.name, values.len()),
            },
            Feed::Value(Value::Word(_)) | Feed::Nothing => return None,
        })
    }

    /// Its value for these images, (n, C, H, W).
    pub fn fed(&self, images: &Tensor) -> Result<Tensor, tch::TchError> {
        if let Feed::Mirrored(layout) = self.feed {
            let mirrored = layout.arrange(&images.f_flip([3])?)?;
            return Ok(if self.dtype == DataType::Uint8 { mirrored.f_to_kind(Kind::Uint8)? } else { mirrored });
        }
        let size = images.size();
        let dims = self.dims_at((size[2] as usize, size[3] as usize));
        let mut size: Vec<i64> = dims.iter().map(|size| *size as i64).collect();
        let one = Tensor::f_from_slice(&self.numbers(&dims))?.f_reshape(&size)?.f_to_kind(kind(self.dtype))?;
        if self.batched {
            size.insert(0, images.size()[0]);
        }
        one.f_expand(&size, false)?.f_contiguous()
    }

    /// Its value for latency measurements with images of this shape, (n, C, H, W): in place of mirrored images, seeded values
    /// are used.
    pub fn measured(&self, images: &Tensor) -> Result<Input, tch::TchError> {
        let fed = self.fed(images)?;
        let dims = fed.size().iter().map(|size| *size as usize).collect();
        let seeded = self.is_mirrored() && self.dtype == DataType::Float32;
        let elements = if seeded { None } else { Some(elements(&fed)?) };
        Ok(Input { elements, ..Input::seeded(&self.name, dims) })
    }

    /// Its elements for one image of these sizes.
    fn numbers(&self, dims: &[usize]) -> Vec<f64> {
        let count = dims.iter().product();
        match &self.feed {
            Feed::Value(Value::All(number)) => vec![*number; count],
            Feed::Value(Value::Each(values)) if values.len() == count => values.clone(),
            _ => vec![0.0; count],
        }
    }

    /// Its elements for one image as a constant.
    pub(crate) fn constant(&self, size: (usize, usize)) -> TensorData {
        let dims = self.dims_at(size);
        let (numbers, one) = (self.numbers(&dims), [&[1usize][..], dims.as_slice()].concat());
        match self.dtype {
            DataType::Int64 => {
                TensorData::from_i64(&one, &numbers.iter().map(|value| *value as i64).collect::<Vec<_>>())
            }
            _ => TensorData::from_f32(&one, &numbers.iter().map(|value| *value as f32).collect::<Vec<_>>()),
        }
    }
}

/// The tensor type for an input of this type.
fn kind(dtype: DataType) -> Kind {
    match dtype {
        DataType::Int64 => Kind::Int64,
        DataType::Int32 => Kind::Int,
        DataType::Int16 => Kind::Int16,
        DataType::Int8 => Kind::Int8,
        DataType::Uint8 => Kind::Uint8,
        DataType::Bool => Kind::Bool,
        DataType::Float64 => Kind::Double,
        DataType::Float16 => Kind::Half,
        _ => Kind::Float,
    }
}

impl Images<'_> {
    /// An input that no node reads: any elements will do.
    fn unused(&self, info: &ValueInfo) -> Result<SideInput, NetworkError> {
        if !Elements::takes(info.ty.dtype) {
            return refuse(format!(
                "input \"{}\" is {:?}, and no node reads it: export the network without it",
                info.name, info.ty.dtype
            ));
        }
        let shape = info.ty.shape.clone().unwrap_or_default();
        let batched = shape.len() > 1 && shape.first() == Some(&self.input.dims[0]);
        let rest = shape.iter().skip(usize::from(batched));
        let dims = rest.map(|size| Size::Fixed(size.known().unwrap_or(1))).collect();
        let (name, dtype) = (info.name.clone(), info.ty.dtype);
        Ok(SideInput { name, dtype, dims, batched, feed: Feed::Nothing, may_take_images: false })
    }

    /// Whether an input's first dimension is the batch: it has the size of the images' batch, or is dynamic and can be the
    /// same.
    fn batched(&self, name: &str, shape: &[Dim], takes_images: bool) -> Result<bool, NetworkError> {
        let [batch, ..] = &self.input.dims;
        match shape.first() {
            None => Ok(false),
            Some(Dim::Known(first)) => Ok(shape.len() > 1 && self.input.batch == Some(*first)),
            // An input that takes images has one image per row, whatever its batch is named.
            Some(first) if takes_images || may_be_one_size(first, batch) => Ok(true),
            Some(first) => refuse(format!(
                "input \"{name}\" has the dynamic first dimension {}, but the images' batch is {}: export the network with the \
                 same name for both, or with a fixed size",
                dim_text(first),
                dim_text(batch)
            )),
        }
    }

    /// True if another input takes images just as the image input does: of their type, order, channels and size.
    fn are_like(&self, other: &ImageInput) -> bool {
        let ImageInput { dtype, layout, channels, height, width, .. } = self.input;
        (other.dtype, other.layout, other.channels) == (*dtype, *layout, *channels)
            && (&other.height, &other.width) == (height, width)
    }

    /// The sizes of an input for one image. Dynamic ones follow the images if theirs are dynamic at the same position.
    fn sizes(&self, name: &str, shape: &[Dim], batched: bool) -> Result<Vec<Size>, NetworkError> {
        let images = self.input.layout.as_nchw(&self.input.dims);
        let is_map = batched && shape.len() == 4;
        let size = |(at, size): (usize, &Dim)| match (size.known(), is_map) {
            (Some(size), _) => Some(Size::Fixed(size)),
            (None, true) => {
                let place = self.input.layout.as_nchw(&[0, 1, 2, 3]).iter().position(|axis| *axis == at)?;
                let free = images.get(place).is_some_and(|of_images| of_images.known().is_none());
                [(2, Size::Height), (3, Size::Width)]
                    .into_iter()
                    .find(|(own, _)| free && *own == place)
                    .map(|(_, size)| size)
            }
            (None, false) => None,
        };
        let sizes = shape.iter().enumerate().skip(usize::from(batched)).map(size);
        match sizes.collect::<Option<Vec<_>>>() {
            Some(sizes) => Ok(sizes),
            None => refuse(format!("input \"{name}\" has a dynamic size; export the network with a fixed size")),
        }
    }

    /// The value of an input of these sizes for one image.
    fn value(&mut self, name: &str, given: Option<&Value>, dims: &[Size]) -> Result<Value, NetworkError> {
        let count = dims.iter().try_fold(1usize, |all, size| match size {
            Size::Fixed(size) => all.checked_mul(*size),
            // Limited like the images themselves.
            _ => Some(all),
        });
        let Some((count, left)) = count.and_then(|count| Some((count, self.left.checked_sub(count)?))) else {
            return refuse(format!(
                "input \"{name}\" and the other inputs than the images have more than {MOST_ELEMENTS} elements for one image: \
                 export the network with constants instead"
            ));
        };
        self.left = left;
        Ok(match given {
            Some(Value::All(value)) => Value::All(*value),
            Some(Value::Each(values)) if values.len() == count => match values.as_slice() {
                // A single number is equal to a list of one.
                [one] => Value::All(*one),
                _ => Value::Each(values.clone()),
            },
            _ => Value::All(0.0),
        })
    }
}

/// False only for two dynamic sizes with different names, and for a dynamic and a fixed one. tf2onnx numbers the dynamic sizes
/// of all inputs.
fn may_be_one_size(size: &Dim, batch: &Dim) -> bool {
    let numbered = |name: &str| name.strip_prefix("unk__").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()));
    match (size, batch) {
        (Dim::Unknown, _) | (_, Dim::Unknown) => true,
        (Dim::Symbol(a), Dim::Symbol(b)) => a == b || numbered(a) && numbered(b),
        _ => false,
    }
}
