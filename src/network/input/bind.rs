//! The inputs of a network as nodes, so that the graph that is run has one input: the images.

use std::sync::Arc;

use super::ImageInput;
use super::side_inputs::{Feed, SideInput};
use crate::graph::model::Written;
use crate::graph::{Attribute, Attributes, DataType, Dim, Graph, Node, TensorData};
use crate::spec::analysis::Layout;

/// The graph with the image input alone, as (N, C, H, W): nodes compute the other inputs, and images in another order. None of
/// them folds into a constant, which would be taken for a weight. `size` is the images' height and
/// width. Images that the file takes as bytes are floats with the same values here.
pub fn bind(graph: &Graph, image: &ImageInput, companions: &[SideInput], size: (usize, usize)) -> Graph {
    let mut bound = graph.clone();
    bound.inputs.retain(|input| input.name == image.file_name);
    bound.inputs.iter_mut().for_each(|input| input.ty.dtype = DataType::Float32);
    let mut builder = Builder { graph: &mut bound, written: graph.written(), image, size, nodes: Vec::new() };
    builder.turn();
    companions.iter().for_each(|companion| builder.write(companion));
    let nodes = std::mem::take(&mut builder.nodes);
    bound.nodes.splice(0..0, nodes);
    bound
}

/// Gathers the nodes that write companions.
struct Builder<'a> {
    graph: &'a mut Graph,
    /// All names of the file, including its inputs.
    written: Written<'a>,
    image: &'a ImageInput,
    size: (usize, usize),
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

    fn write(&mut self, companion: &SideInput) {
        match companion.feed {
            Feed::Mirrored(layout) => self.write_mirrored(&companion.name, layout),
            Feed::Value(_) => self.write_constant(companion, companion.constant(self.size)),
            Feed::Nothing => {}
        }
    }

    fn write_mirrored(&mut self, name: &str, layout: Layout) {
        let [_, _, _, width] = layout.as_nchw(&[0, 1, 2, 3]);
        // Elements of one axis from, to, by.
        let (from, to) = (self.int(name, "from", &[-1]), self.int(name, "to", &[i64::MIN]));
        let (axes, steps) = (self.int(name, "axes", &[width]), self.int(name, "steps", &[-1]));
        let image = &self.image.file_name;
        self.node("Slice", &[image, &from, &to, &axes, &steps], name);
    }

    /// Repeats a value for each image; for an input without a batch, keeps the first.
    fn write_constant(&mut self, companion: &SideInput, constant: TensorData) {
        let name = companion.name.as_str();
        let value = self.constant(name, "value", constant);
        let (first, one) = (self.int(name, "first", &[0]), self.int(name, "one", &[1]));
        let sizes: Vec<i64> = companion.dims_at(self.size).iter().map(|size| *size as i64).collect();
        let dims = self.int(name, "dims", &sizes);
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
