//! Inputs of a network beside the one that takes the images: what they are fed, in every engine the same.
//!
//! A second image input gets the job's images mirrored, so that the two differ and each answer still depends on one image alone;
//! where it has one channel and they have three, or the other way round, in their first colour.
//! Any other input gets the value that the job gives, the same for every image. In the graph that is run these are nodes, so that
//! it has one input; the file keeps its inputs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::graph::model::Written;
use crate::graph::{Attribute, Attributes, DataType, Dim, Graph, Node, TensorData, ValueInfo};

use super::CompressError;
use super::analyse::dim_text;
use super::latency::Input;
use super::network::{self, ImageInput, Layout};
use super::onnxruntime::Elements;

/// Values that a job gives for inputs, by name.
pub type Given = BTreeMap<String, Value>;

/// What a job gives for an input: one number for all of its elements, or all elements for one image, row-major.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a number, or an array of numbers")]
pub enum Value {
    /// Every element is this.
    All(f64),
    /// Each element.
    Each(Vec<f64>),
}

/// An input beside the image input.
#[derive(Debug, Clone, PartialEq)]
pub struct Companion {
    /// Name.
    pub name: String,
    /// `Float32` or `Int64`.
    dtype: DataType,
    /// Sizes for one image; without the batch where it has one.
    dims: Vec<usize>,
    /// Whether its first dimension is the batch.
    batched: bool,
    feed: Feed,
}

#[derive(Debug, Clone, PartialEq)]
enum Feed {
    /// The images, each mirrored from left to right, with their dimensions in this order; `Some(n)`: their first channel, n times.
    Mirrored(Layout, Option<usize>),
    /// These elements.
    Value(Vec<f64>),
}

/// What a companion is fed, as reported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompanionInfo {
    /// Name of the input.
    pub name: String,
    /// True where a job has to give a value; false where the mirrored images are taken unless it does.
    pub needs_value: bool,
    /// Numbers that one image's value has.
    pub elements: usize,
    /// True if it takes whole numbers only (int64).
    #[serde(default)]
    pub whole_numbers: bool,
}

/// The oldest operator set in which the nodes of [`bind`] exist.
const OLDEST_OPSET: i64 = 10;

/// Every input but the image input. What is not given, or given in a wrong number, is 0 here and refused by [`check`].
pub fn find(graph: &Graph, image: &ImageInput, given: &Given) -> Result<Vec<Companion>, CompressError> {
    let others: Vec<&ValueInfo> = graph.inputs.iter().filter(|input| input.name != image.file_name).collect();
    if !others.is_empty() && graph.opset() < OLDEST_OPSET {
        return refuse(format!(
            "the network has {} inputs; with operator set {} one is supported: export it with opset_version={OLDEST_OPSET} or newer",
            graph.inputs.len(),
            graph.opset()
        ));
    }
    let mut images = Images { input: image, left: MOST_ELEMENTS };
    others.into_iter().map(|info| Companion::of(info, &mut images, given.get(&info.name))).collect()
}

/// Elements that all inputs together may have for one image. Beyond this they are no settings of a network.
const MOST_ELEMENTS: usize = 1 << 20;

/// What the other inputs stand beside.
struct Images<'a> {
    input: &'a ImageInput,
    /// What is left of [`MOST_ELEMENTS`].
    left: usize,
}

/// An input that a job does not feed, or feeds what it does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputFault {
    /// Name of the input.
    pub name: String,
    /// The cause.
    pub detail: String,
    /// The way out.
    pub hint: String,
}

/// Names of inputs that a hint lists at most.
const MOST_LISTED: usize = 10;

/// What is wrong with the values that a job gives for a network's inputs.
pub fn faults(companions: &[CompanionInfo], given: &Given) -> Vec<InputFault> {
    let names: BTreeSet<&str> = companions.iter().map(|companion| companion.name.as_str()).collect();
    let of_network = companions.iter().filter_map(|companion| companion.fault(given.get(&companion.name)));
    let unknown = given.keys().filter(|name| !names.contains(name.as_str()));
    let listed: Vec<String> = names.iter().take(MOST_LISTED).map(|name| format!("\"{name}\"")).collect();
    let unknown = unknown.map(|name| InputFault {
        name: name.clone(),
        detail: format!("the network has no input \"{name}\" beside the images"),
        hint: if listed.is_empty() { "leave it out".into() } else { format!("there are {}", listed.join(", ")) },
    });
    of_network.chain(unknown).collect()
}

/// The same as an error.
pub fn check(companions: &[Companion], given: &Given) -> Result<(), CompressError> {
    let infos: Vec<CompanionInfo> = companions.iter().map(Companion::info).collect();
    let faults: Vec<String> =
        faults(&infos, given).into_iter().map(|fault| format!("{}: {}", fault.detail, fault.hint)).collect();
    if faults.is_empty() { Ok(()) } else { refuse(faults.join("; ")) }
}

impl CompanionInfo {
    fn fault(&self, given: Option<&Value>) -> Option<InputFault> {
        let Self { name, elements, .. } = self;
        let many = if *elements == 1 { "one number".to_owned() } else { format!("one number, or {elements} of them") };
        let detail = match given {
            None if self.needs_value => format!("the network has an input \"{name}\" beside the images"),
            Some(Value::Each(values)) if values.len() != *elements => {
                format!("\"inputs\" gives {} numbers for \"{name}\"", values.len())
            }
            Some(value) => format!("{} for \"{name}\"", self.misfit(value)?),
            None => return None,
        };
        let hint = format!("say in the job what every image comes with, {many}: \"inputs\": {{\"{name}\": 0.5}}");
        Some(InputFault { name: name.clone(), detail, hint })
    }

    /// The first number that the input's type cannot hold.
    fn misfit(&self, value: &Value) -> Option<String> {
        let numbers = match value {
            Value::All(number) => std::slice::from_ref(number),
            Value::Each(numbers) => numbers,
        };
        // Both bounds of int64 are powers of two, so they are exact.
        let is_int64 = |number: f64| number.fract() == 0.0 && (-(2f64.powi(63))..2f64.powi(63)).contains(&number);
        let is_float32 = |number: f64| number.abs() <= f64::from(f32::MAX);
        let fits = |number: &&f64| if self.whole_numbers { is_int64(**number) } else { is_float32(**number) };
        let misfit = numbers.iter().find(|number| !fits(number))?;
        let wanted =
            if self.whole_numbers { "no whole number that an int64 holds" } else { "beyond what a float32 holds" };
        Some(format!("\"inputs\" gives {misfit}, {wanted},"))
    }
}

fn refuse<T>(detail: String) -> Result<T, CompressError> {
    Err(CompressError::ModelInterface(detail))
}

impl Companion {
    fn of(info: &ValueInfo, images: &mut Images, given: Option<&Value>) -> Result<Self, CompressError> {
        let name = &info.name;
        if ![DataType::Float32, DataType::Int64].contains(&info.ty.dtype) {
            return refuse(format!(
                "input \"{name}\" is {:?}; beside the images float32 and int64 inputs are supported",
                info.ty.dtype
            ));
        }
        let Some(shape) = &info.ty.shape else {
            return refuse(format!("input \"{name}\" has no shape; export the network with it"));
        };
        let colours = images.colours(info);
        let batched = images.batched(name, shape, colours.is_some())?;
        let rest = if batched { &shape[1..] } else { shape.as_slice() };
        let dims: Option<Vec<usize>> = rest.iter().map(Dim::known).collect();
        let feed = match (given, &dims) {
            (None, _) if let Some(channels) = colours.filter(|_| batched) => {
                Feed::Mirrored(images.input.layout, (channels != images.input.channels).then_some(channels))
            }
            (_, None) => {
                return refuse(format!("input \"{name}\" leaves a size free; export the network with it fixed"));
            }
            (given, Some(dims)) => Feed::Value(images.elements(name, given, dims)?),
        };
        Ok(Self { name: name.clone(), dtype: info.ty.dtype, dims: dims.unwrap_or_default(), batched, feed })
    }

    fn is_mirrored(&self) -> bool {
        matches!(self.feed, Feed::Mirrored(..))
    }

    /// Numbers that one image's value has.
    fn elements(&self) -> usize {
        self.dims.iter().product()
    }

    /// How many numbers its value has in a graph that [`bind`] has made, where they are floats and the graph reads them.
    pub fn floats_in(&self, graph: &Graph) -> usize {
        let read = graph.nodes.iter().any(|node| node.outputs.contains(&self.name));
        let floats = self.dtype == DataType::Float32 && !self.is_mirrored();
        if read && floats { self.elements() } else { 0 }
    }

    /// What is reported at upload.
    pub fn info(&self) -> CompanionInfo {
        let needs_value = !self.is_mirrored();
        let whole_numbers = self.dtype == DataType::Int64;
        CompanionInfo { name: self.name.clone(), needs_value, elements: self.elements(), whole_numbers }
    }

    /// What it is fed, in words.
    pub fn told(&self) -> String {
        match &self.feed {
            Feed::Mirrored(_, None) => format!("`{}` the images, mirrored", self.name),
            Feed::Mirrored(_, Some(_)) => format!("`{}` the images' first colour, mirrored", self.name),
            Feed::Value(values) => match values.as_slice() {
                [first, rest @ ..] if rest.iter().all(|value| value == first) => format!("`{}` {first}", self.name),
                _ => format!("`{}` the job's {} numbers", self.name, values.len()),
            },
        }
    }

    /// What it is fed beside these images, (n, C, H, W).
    pub fn fed(&self, images: &Tensor) -> Result<Tensor, CompressError> {
        let values = match &self.feed {
            Feed::Mirrored(layout, copies) => {
                let mirrored = images.f_flip([3])?;
                return Ok(layout.arrange(&match copies {
                    Some(copies) => mirrored.f_narrow(1, 0, 1)?.f_repeat([1, *copies as i64, 1, 1])?,
                    None => mirrored,
                })?);
            }
            Feed::Value(values) => Tensor::f_from_slice(values)?,
        };
        let mut size: Vec<i64> = self.dims.iter().map(|size| *size as i64).collect();
        let kind = if self.dtype == DataType::Int64 { Kind::Int64 } else { Kind::Float };
        let one = values.f_reshape(&size)?.f_to_kind(kind)?;
        if self.batched {
            size.insert(0, images.size()[0]);
        }
        Ok(one.f_expand(&size, false)?.f_contiguous()?)
    }

    /// What it is fed while latency is measured at this many images, (n, C, H, W): mirrored images are as good as any seeded ones.
    pub fn measured(&self, images: &Tensor) -> Result<Input, CompressError> {
        let fed = self.fed(images)?;
        let dims = fed.size().iter().map(|size| *size as usize).collect();
        let elements = if self.is_mirrored() { None } else { Some(Elements::of(&fed)?) };
        Ok(Input { elements, ..Input::seeded(&self.name, dims) })
    }

    /// Its elements for one image as a constant; `None` where it is fed images.
    fn constant(&self, dims: &[usize]) -> Option<TensorData> {
        let Feed::Value(values) = &self.feed else { return None };
        Some(match self.dtype {
            DataType::Int64 => {
                TensorData::from_i64(dims, &values.iter().map(|value| *value as i64).collect::<Vec<_>>())
            }
            _ => TensorData::from_f32(dims, &values.iter().map(|value| *value as f32).collect::<Vec<_>>()),
        })
    }
}

impl Images<'_> {
    /// Whether an input's first dimension is the batch: one of the images' size, or a free one that can be meant by theirs.
    fn batched(&self, name: &str, shape: &[Dim], takes_images: bool) -> Result<bool, CompressError> {
        let [batch, ..] = &self.input.dims;
        match shape.first() {
            None => Ok(false),
            Some(Dim::Known(first)) => Ok(shape.len() > 1 && self.input.batch == Some(*first)),
            // What takes images has one in each row, whatever it calls them.
            Some(first) if takes_images || may_be_one_size(first, batch) => Ok(true),
            Some(first) => refuse(format!(
                "input \"{name}\" leaves its first size free as {}, and the images' batch is {}: export the network with both \
                 named alike, or with that size fixed",
                dim_text(first),
                dim_text(batch)
            )),
        }
    }

    /// Channels of an input that takes images: float, in the images' order of dimensions and in their sizes, with 1 or 3 channels.
    fn colours(&self, info: &ValueInfo) -> Option<usize> {
        let layout = self.input.layout;
        let ours = layout.as_nchw(&<[Dim; 4]>::try_from(info.ty.shape.clone()?).ok()?);
        let theirs = layout.as_nchw(&self.input.dims);
        let fits = |(ours, theirs): (&Dim, &Dim)| match (ours.known(), theirs.known()) {
            (Some(ours), Some(theirs)) => ours == theirs,
            (ours, theirs) => ours.is_none() && theirs.is_none(),
        };
        let channels = network::colours(&ours[1])?;
        (info.ty.dtype == DataType::Float32 && ours[2..].iter().zip(&theirs[2..]).all(fits)).then_some(channels)
    }

    /// What an input of these sizes is fed for one image.
    fn elements(&mut self, name: &str, given: Option<&Value>, dims: &[usize]) -> Result<Vec<f64>, CompressError> {
        let count = dims.iter().try_fold(1usize, |all, size| all.checked_mul(*size));
        let Some((count, left)) = count.and_then(|count| Some((count, self.left.checked_sub(count)?))) else {
            return refuse(format!(
                "input \"{name}\" and the other ones beside the images have more than {MOST_ELEMENTS} elements for one image: \
                 export the network with them as constants"
            ));
        };
        self.left = left;
        Ok(match given {
            Some(Value::All(value)) => vec![*value; count],
            Some(Value::Each(values)) if values.len() == count => values.clone(),
            _ => vec![0.0; count],
        })
    }
}

/// False only for two free sizes with names that tell them apart, and for a free one beside a fixed one. tf2onnx numbers the free
/// sizes of all inputs through.
fn may_be_one_size(size: &Dim, batch: &Dim) -> bool {
    let numbered = |name: &str| name.strip_prefix("unk__").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()));
    match (size, batch) {
        (Dim::Unknown, _) | (_, Dim::Unknown) => true,
        (Dim::Symbol(a), Dim::Symbol(b)) => a == b || numbered(a) && numbered(b),
        _ => false,
    }
}

/// The graph with the image input alone, as (N, C, H, W): the other inputs, and images in another order, are written by nodes. None
/// of them folds into a constant, because a constant would be taken for a weight of the network.
pub fn bind(graph: &Graph, image: &ImageInput, companions: &[Companion]) -> Graph {
    let mut bound = graph.clone();
    bound.inputs.retain(|input| input.name == image.file_name);
    let mut builder = Builder { graph: &mut bound, written: graph.written(), image, nodes: Vec::new() };
    builder.turn();
    companions.iter().for_each(|companion| builder.write(companion));
    let nodes = std::mem::take(&mut builder.nodes);
    bound.nodes.splice(0..0, nodes);
    bound
}

/// Gathers the nodes that write companions.
struct Builder<'a> {
    graph: &'a mut Graph,
    /// Names that the file has, those of its inputs too.
    written: Written<'a>,
    image: &'a ImageInput,
    nodes: Vec<Node>,
}

impl Builder<'_> {
    /// The image input as the file has it.
    fn turn(&mut self) {
        let ImageInput { name, file_name, layout, .. } = self.image;
        if *layout == Layout::Nchw {
            return;
        }
        for input in &mut self.graph.inputs {
            input.name.clone_from(name);
            if let Some([n, h, w, c]) = input.ty.shape.as_deref() {
                input.ty.shape = Some([n, c, h, w].map(Dim::clone).to_vec());
            }
        }
        self.node("Transpose", &[name], file_name);
        self.set("perm", Attribute::Ints(layout.order(&[0, 1, 2, 3]).to_vec()));
    }

    fn write(&mut self, companion: &Companion) {
        let one: Vec<usize> = std::iter::once(1).chain(companion.dims.iter().copied()).collect();
        match companion.constant(&one) {
            Some(constant) => self.write_constant(companion, constant),
            None => self.write_mirrored(companion),
        }
    }

    fn write_mirrored(&mut self, companion: &Companion) {
        let Feed::Mirrored(layout, copies) = companion.feed else { return };
        let name = companion.name.as_str();
        let [_, channels, _, width] = layout.as_nchw(&[0, 1, 2, 3]);
        // Elements of an axis from, to, by: one axis is turned round, of the other the first is taken or all.
        let first = if copies.is_some() { 1 } else { i64::MAX };
        let (from, to) = (self.int(name, "from", &[-1, 0]), self.int(name, "to", &[i64::MIN, first]));
        let (axes, steps) = (self.int(name, "axes", &[width, channels]), self.int(name, "steps", &[-1, 1]));
        let image = &self.image.file_name;
        let Some(copies) = copies.filter(|copies| *copies > 1) else {
            return self.node("Slice", &[image, &from, &to, &axes, &steps], name);
        };
        let one = self.free(name, "one");
        self.node("Slice", &[image, &from, &to, &axes, &steps], &one);
        self.node("Concat", &vec![one.as_str(); copies], name);
        self.set("axis", Attribute::Int(channels));
    }

    /// As many times as there are images, and where the input has no batch, the first of them.
    fn write_constant(&mut self, companion: &Companion, constant: TensorData) {
        let name = companion.name.as_str();
        let value = self.constant(name, "value", constant);
        let (first, one) = (self.int(name, "first", &[0]), self.int(name, "one", &[1]));
        let dims = self.int(name, "dims", &companion.dims.iter().map(|size| *size as i64).collect::<Vec<_>>());
        let [shape, batch, target] = ["shape", "batch", "target"].map(|what| self.free(name, what));
        self.node("Shape", &[&self.image.name], &shape);
        self.node("Slice", &[&shape, &first, &one, &first], &batch);
        self.node("Concat", &[&batch, &dims], &target);
        self.set("axis", Attribute::Int(0));
        if companion.batched {
            return self.node("Expand", &[&value, &target], name);
        }
        let [all, row] = ["all", "row"].map(|what| self.free(name, what));
        self.node("Expand", &[&value, &target], &all);
        self.node("Slice", &[&all, &first, &one, &first], &row);
        self.node("Reshape", &[&row, &dims], name);
    }

    /// An attribute of the last node.
    fn set(&mut self, name: &str, value: Attribute) {
        if let Some(node) = self.nodes.last_mut() {
            node.attrs.set(name, value);
        }
    }

    fn free(&self, input: &str, what: &str) -> String {
        self.written.free_name(&format!("{input}/{what}"))
    }

    fn int(&mut self, input: &str, what: &str, values: &[i64]) -> String {
        self.constant(input, what, TensorData::from_i64(&[values.len()], values))
    }

    fn constant(&mut self, input: &str, what: &str, tensor: TensorData) -> String {
        let name = self.free(input, what);
        self.graph.initializers.insert(name.clone(), Arc::new(tensor));
        name
    }

    fn node(&mut self, op: &str, inputs: &[&str], output: &str) {
        self.nodes.push(Node {
            op: op.to_owned(),
            inputs: inputs.iter().map(|input| (*input).to_owned()).collect(),
            outputs: vec![output.to_owned()],
            attrs: Attributes::default(),
            ..Node::default()
        });
    }
}
