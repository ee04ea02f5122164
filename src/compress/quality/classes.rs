//! Whether the numbers that a network puts out for an image are classes: only then do a top class, agreement and accuracy mean
//! anything. Landmarks, embeddings and angles have the same shape, (N, k).
//!
//! Counts as evidence, the first that there is:
//! * the network ends in a `Softmax` over all k numbers;
//! * the network puts out the place of the largest of them (`ArgMax`, `TopK`);
//! * the output, or the layer that makes it, is called so (`logits`, `probabilities`, `classifier` …);
//! * the file's metadata names classes, or the task;
//! * the rows of the last linear layer add up to nothing. The gradient of cross entropy adds up to zero over the classes, so that
//!   training takes away whatever sum the layer began with: seen are 0.000 to 0.034 of what rows without such a tie have (eight
//!   trained classifiers), and 0.5 to 1.1 before any training;
//! * its outputs for the images are distributions: no value below 0, and their sum is 1;
//! * the labels that came with the images: the network gets them right more often than by chance.
//!
//! Names such as `embedding` or `landmarks`, and an end in `Sigmoid`, `Tanh` or a division by the norm, speak against it: beside
//! them only the last two count.

use tch::{Kind, Tensor};

use crate::compress::CompressError;
use crate::compress::student::edit::position;
use crate::graph::{Graph, Node, TensorData};
use crate::network::Network;
use crate::spec::report::{Evidence, Figure};

/// Evidence from the file alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Its output is classes.
    Classes(Evidence),
    /// Nothing.
    Nothing,
    /// It ends as no classifier does.
    Other,
}

/// Squared norm of the mean row of a last layer, times their number, as a share of their mean squared norm: about 1 of independent
/// rows, near 0 of those that cross entropy has trained.
const TIED_ROWS: f64 = 0.1;

/// Minimum number of inputs of a last layer for its rows to be evidence.
const FEWEST_INPUTS: usize = 8;

/// Words in names that speak for classes.
const FOR: &[&str] = &[
    "logit",
    "logits",
    "prob",
    "probs",
    "probability",
    "probabilities",
    "softmax",
    "class",
    "classes",
    "cls",
    "classifier",
    "classification",
];

/// Words in names that speak for something else.
const AGAINST: &[&str] = &[
    "embedding",
    "embeddings",
    "embed",
    "emb",
    "feature",
    "features",
    "feat",
    "descriptor",
    "latent",
    "landmark",
    "landmarks",
    "keypoint",
    "keypoints",
    "kpts",
    "points",
    "box",
    "boxes",
    "bbox",
    "coords",
    "coordinates",
    "pose",
    "angle",
    "angles",
    "offset",
    "offsets",
    "regression",
    "reg",
];

/// Evidence about an output from a folded graph and its file's metadata.
pub fn told(graph: &Graph, output: &str, metadata: &[(String, String)]) -> Told {
    let end = End::of(graph, output);
    let words =
        |names: &[&str], of: &[&str]| names.iter().any(|name| tokens(name).any(|word| of.contains(&word.as_str())));
    let mut names = vec![output];
    names.extend(end.node.iter().flat_map(|node| [node.name.as_str(), node.scope.as_str()]));
    names.extend(end.node.iter().filter_map(|node| node.input(1)));
    if end.is_softmax {
        return Told::Classes(Evidence::Softmax);
    }
    if words(&[output], AGAINST) || end.bends || speaks_for_other(metadata) {
        return Told::Other;
    }
    match () {
        () if words(&names, FOR) => Told::Classes(Evidence::Name),
        () if names_classes(metadata) => Told::Classes(Evidence::Metadata),
        () if end.node.and_then(|node| rows(graph, node)).is_some_and(|rows| add_up_to_nothing(&rows)) => {
            Told::Classes(Evidence::Head)
        }
        () => Told::Nothing,
    }
}

/// Evidence about a network's first output from its file.
pub fn of(network: &Network) -> Told {
    let (answer, metadata) = (network.answers[0].name.as_str(), network.model.metadata());
    match network.outputs.iter().any(|output| output.name == answer) {
        true => told(&network.graph, answer, &metadata),
        false => told_of_label(&network.graph, answer, &metadata),
    }
}

/// The same for values that are not an output, because a label is computed from them.
pub fn told_of_label(graph: &Graph, answer: &str, metadata: &[(String, String)]) -> Told {
    let picks = |node: &Node| ["ArgMax", "TopK"].contains(&node.op.as_str()) && node.input(0) == Some(answer);
    match told(graph, answer, metadata) {
        Told::Classes(evidence) => Told::Classes(evidence),
        _ if graph.nodes.iter().any(picks) => Told::Classes(Evidence::Place),
        told => told,
    }
}

/// The evidence for classes, from the file, the teacher's outputs for some images, (n, k), and their labels.
pub fn decide(told: Told, answers: &Tensor, labels: &[Option<u32>]) -> Result<Option<Evidence>, CompressError> {
    let Some(top) = top_classes(answers)?.filter(|_| answers.is_floating_point()) else { return Ok(None) };
    if let Told::Classes(evidence) = told {
        return Ok(Some(evidence));
    }
    if are_probabilities(answers)? {
        return Ok(Some(Evidence::Distribution));
    }
    Ok(beats_chance(&top, labels).then_some(Evidence::Labels))
}

/// The predicted class of every image, if the output is (N, classes) with at least two classes; trailing ones are allowed.
pub fn top_classes(output: &Tensor) -> Result<Option<Vec<i64>>, CompressError> {
    let size = output.size();
    let classifies = size.len() >= 2 && size[0] > 0 && size[1] >= 2 && size[2..].iter().all(|side| *side == 1);
    if !classifies {
        return Ok(None);
    }
    let top = output.f_reshape([size[0], size[1]])?.f_argmax(1, false)?;
    Ok(Some(Vec::<i64>::try_from(&top)?))
}

/// Whether a classifier's output, (N, classes), is probabilities already.
pub fn are_probabilities(output: &Tensor) -> Result<bool, CompressError> {
    let least = output.f_min()?.f_double_value(&[])?;
    let off = (output.f_flatten(1, -1)?.f_sum_dim_intlist([1].as_slice(), false, Kind::Float)? - 1.0).f_abs()?;
    Ok(least >= 0.0 && off.f_max()?.f_double_value(&[])? < 1e-3)
}

/// Whether classes meet labels more often, beyond doubt, than if the one had nothing to do with the other.
fn beats_chance(top: &[i64], labels: &[Option<u32>]) -> bool {
    let pairs: Vec<(i64, i64)> =
        top.iter().zip(labels).filter_map(|(top, label)| label.map(|label| (*top, i64::from(label)))).collect();
    let share = |count: usize| count as f64 / pairs.len() as f64;
    let by_chance =
        pairs.iter().map(|(_, label)| share(pairs.iter().filter(|(top, _)| top == label).count())).sum::<f64>();
    let hits = pairs.iter().filter(|(top, label)| top == label).count();
    !pairs.is_empty() && Figure::share(hits, pairs.len()).low.is_some_and(|low| low > by_chance / pairs.len() as f64)
}

/// The node that computes an output, skipping nodes that only reshape it.
#[derive(Default)]
struct End<'g> {
    /// The last linear layer.
    node: Option<&'g Node>,
    is_softmax: bool,
    /// Whether the network ends in an operator that no classifier ends in.
    bends: bool,
}

impl<'g> End<'g> {
    fn of(graph: &'g Graph, output: &str) -> Self {
        let classes = graph.shape(output).and_then(|shape| shape.get(1)?.known());
        let mut value = output;
        while let Some(node) = position(graph, value).map(|at| &graph.nodes[at]) {
            let constant = |index: usize| node.input(index).is_some_and(|name| graph.initializers.contains_key(name));
            let next = match node.op.as_str() {
                "Identity" | "Dropout" | "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze" | "Cast" => 0,
                // A bias, and the mean over all places of a layer that answers for each.
                "Add" if constant(1) => 0,
                "Add" if constant(0) => 1,
                "GlobalAveragePool" | "ReduceMean" => 0,
                "Softmax" | "LogSoftmax" => {
                    let is_softmax = classes.is_some() && over(graph, node) == classes;
                    return Self { is_softmax, bends: !is_softmax, node: None };
                }
                "Gemm" | "MatMul" | "Conv" if constant(1) => return Self { node: Some(node), ..Self::default() },
                _ => return Self { bends: true, ..Self::default() },
            };
            value = &node.inputs[next];
        }
        Self { bends: true, ..Self::default() }
    }
}

/// How many numbers a `Softmax` is over.
fn over(graph: &Graph, node: &Node) -> Option<usize> {
    let shape = graph.shape(node.output())?;
    let default = if graph.opset() >= 13 { -1 } else { 1 };
    let axis = node.attrs.int("axis", default);
    let axis = usize::try_from(if axis < 0 { axis + shape.len() as i64 } else { axis }).ok()?;
    shape.get(axis)?.known()
}

/// The words of a name, in lower case: `classifier.1.weight` is `classifier`, `1` and `weight`.
fn tokens(name: &str) -> impl Iterator<Item = String> {
    let parts = name.split(|letter: char| !letter.is_ascii_alphanumeric());
    parts
        .filter(|part| !part.is_empty())
        .map(|part| part.trim_end_matches(|c: char| c.is_ascii_digit()).to_ascii_lowercase())
}

fn names_classes(metadata: &[(String, String)]) -> bool {
    let keys = ["names", "classes", "class_names", "labels", "id2label", "categories"];
    metadata.iter().any(|(key, value)| keys.contains(&key.to_ascii_lowercase().as_str()) && !value.is_empty())
        || task(metadata).is_some_and(|task| task.contains("classif"))
}

fn speaks_for_other(metadata: &[(String, String)]) -> bool {
    task(metadata).is_some_and(|task| !task.contains("classif"))
}

fn task(metadata: &[(String, String)]) -> Option<String> {
    metadata.iter().find(|(key, _)| key.eq_ignore_ascii_case("task")).map(|(_, value)| value.to_ascii_lowercase())
}

/// The kernel of a linear layer, one row for each of its outputs.
fn rows(graph: &Graph, node: &Node) -> Option<Vec<Vec<f64>>> {
    let kernel: &TensorData = graph.initializers.get(node.input(1)?)?;
    let values = kernel.to_f32()?;
    let outputs_first = node.is("Conv") || node.is("Gemm") && node.attrs.int("transB", 0) != 0;
    let first = *kernel.dims.first()?;
    let row = values.len() / first.max(1);
    let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<f64>>();
    Some(match outputs_first {
        true => values.chunks(row.max(1)).map(|values| wide(values.to_vec())).collect(),
        false if kernel.dims.len() == 2 => {
            (0..row).map(|at| wide(values.iter().skip(at).step_by(row).copied().collect())).collect()
        }
        false => return None,
    })
}

fn add_up_to_nothing(rows: &[Vec<f64>]) -> bool {
    let inputs = rows.first().map_or(0, Vec::len);
    if rows.len() < 2 || inputs < FEWEST_INPUTS {
        return false;
    }
    let squares: f64 = rows.iter().flatten().map(|value| value * value).sum();
    let sums = (0..inputs).map(|at| rows.iter().map(|row| row[at]).sum::<f64>());
    // k · ‖mean row‖² ÷ mean ‖row‖² = ‖sum of rows‖² ÷ sum of ‖row‖².
    let of_sum: f64 = sums.map(|sum| sum * sum).sum();
    squares > 0.0 && of_sum / squares < TIED_ROWS
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tch::{Device, Kind};

    use super::*;
    use crate::graph::{Dim, ValueInfo, ValueType};

    /// `x` (N, 16) → a linear layer with these rows → `ops` → `output` (N, k).
    fn graph(rows: &[Vec<f32>], ops: &[&str], output: &str) -> Graph {
        let ty = || {
            let shape = [Dim::Symbol("N".into()), Dim::Known(rows.len())];
            ValueType { dtype: crate::graph::DataType::Float32, shape: Some(shape.to_vec()) }
        };
        let kernel = TensorData::from_f32(&[rows.len(), rows[0].len()], &rows.concat());
        let mut gemm = Node { op: "Gemm".into(), inputs: vec!["x".into(), "w".into()], ..Node::default() };
        gemm.attrs.set("transB", crate::graph::Attribute::Int(1));
        let mut nodes = vec![gemm];
        nodes.extend(ops.iter().map(|op| Node { op: (*op).into(), ..Node::default() }));
        let last = nodes.len() - 1;
        for (at, node) in nodes.iter_mut().enumerate() {
            node.outputs = vec![if at == last { output.to_owned() } else { format!("v{at}") }];
            if at > 0 {
                node.inputs = vec![format!("v{}", at - 1)];
            }
        }
        let values = nodes.iter().map(|node| (node.outputs[0].clone(), ty())).collect();
        Graph {
            opsets: [(String::new(), 17)].into(),
            initializers: [("w".to_owned(), Arc::new(kernel))].into_iter().collect(),
            outputs: vec![ValueInfo { name: output.into(), ty: ty() }],
            nodes,
            values,
            ..Graph::default()
        }
    }

    fn random(count: i64) -> Vec<Vec<f32>> {
        tch::manual_seed(3);
        Vec::<Vec<f32>>::try_from(&Tensor::randn([count, 16], (Kind::Float, Device::Cpu))).expect("rows")
    }

    /// As cross entropy leaves them.
    fn trained(count: i64) -> Vec<Vec<f32>> {
        let rows = random(count);
        let mean = |at: usize| rows.iter().map(|row| row[at]).sum::<f32>() / rows.len() as f32;
        rows.iter().map(|row| row.iter().enumerate().map(|(at, value)| value - mean(at)).collect()).collect()
    }

    fn tells(rows: &[Vec<f32>], ops: &[&str], output: &str) -> Told {
        told(&graph(rows, ops, output), output, &[])
    }

    #[test]
    fn the_end_of_the_file_and_its_names_tell_classes() {
        assert_eq!(tells(&random(10), &["Softmax"], "y"), Told::Classes(Evidence::Softmax));
        assert_eq!(tells(&random(10), &["LogSoftmax", "Identity"], "features"), Told::Classes(Evidence::Softmax));
        assert_eq!(tells(&random(10), &[], "class_logits"), Told::Classes(Evidence::Name));
        assert_eq!(tells(&trained(10), &["Flatten"], "output"), Told::Classes(Evidence::Head));
        assert_eq!(tells(&random(10), &[], "output"), Told::Nothing);
    }

    #[test]
    fn other_ends_and_names_tell_that_it_is_something_else() {
        for end in ["Sigmoid", "Tanh", "LpNormalization", "Div", "TopK"] {
            assert_eq!(tells(&trained(10), &[end], "logits"), Told::Other, "{end}");
        }
        for name in ["embedding", "landmarks", "pred_boxes", "head.pose", "reg"] {
            assert_eq!(tells(&trained(10), &[], name), Told::Other, "{name}");
        }
    }

    #[test]
    fn metadata_tell_for_and_against() {
        let with = |key: &str, value: &str| {
            told(&graph(&random(10), &[], "output0"), "output0", &[(key.to_owned(), value.to_owned())])
        };
        assert_eq!(with("names", "{0: 'cat', 1: 'dog'}"), Told::Classes(Evidence::Metadata));
        assert_eq!(with("task", "classify"), Told::Classes(Evidence::Metadata));
        assert_eq!((with("task", "pose"), with("author", "me")), (Told::Other, Told::Nothing));
    }

    #[test]
    fn answers_and_labels_tell_what_the_file_does_not() {
        let answers = Tensor::eye(4, (Kind::Float, Device::Cpu)).repeat([8, 1]) * 3.0;
        let none = vec![None; 32];
        let right: Vec<Option<u32>> = (0..32).map(|image| Some(image % 4)).collect();
        let wrong: Vec<Option<u32>> = (0..32).map(|image| Some((image / 8) % 4)).collect();
        let decided = |told, answers: &Tensor, labels: &[Option<u32>]| decide(told, answers, labels).expect("computes");
        assert_eq!(decided(Told::Nothing, &answers, &none), None);
        assert_eq!(decided(Told::Other, &answers, &right), Some(Evidence::Labels));
        assert_eq!(decided(Told::Nothing, &answers, &wrong), None, "labels that are met by chance");
        assert_eq!(decided(Told::Nothing, &answers, &vec![Some(0); 32]), None, "so many are right by chance");
        let shares = answers.softmax(1, Kind::Float);
        assert_eq!(decided(Told::Nothing, &shares, &none), Some(Evidence::Distribution));
        let map = Tensor::zeros([2, 3, 4, 4], (Kind::Float, Device::Cpu));
        assert_eq!(decided(Told::Classes(Evidence::Name), &map, &none), None, "a map is no list of classes");
    }
}
