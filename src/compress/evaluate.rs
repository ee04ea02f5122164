//! Two files side by side on images: how often they agree and, with labels, how often each is right.

use serde::{Deserialize, Serialize};

use super::CompressError;
use super::file::in_onnxruntime;
use super::quality::relative::{constant_loss, share};
use super::quality::{agreement, classes, top1};
use super::samples::to_tensor;
use crate::graph::{Graph, InputShapes, fold};
use crate::images::{ImageSet, Preprocess};
use crate::network::NetworkError;
use crate::network::input::{ImageInput, side_inputs};
use crate::network::outputs::Judge;
use crate::onnx;
use crate::spec::inputs::Given;
use crate::spec::report::{Evidence, Figure, Top1};

/// A student against its teacher, both in ONNX Runtime.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Number of images that both were evaluated on.
    pub images: usize,
    /// How many of them have labels.
    pub labelled: usize,
    /// Share of images for which both predict the same class; absent without evidence that the output is classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement: Option<Figure>,
    /// The evidence that the output is classes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub classes_by: Option<Evidence>,
    /// Accuracy of both on the labelled images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top1: Option<Top1>,
    /// Mean squared difference of the first output.
    pub output_mse: f64,
    /// The same as a share of the best constant answer's: 0 is the teacher, 1 is no better than a constant. Absent with a
    /// single image, and if the teacher is constant.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub output_share: Option<f64>,
}

/// Runs both files on every image of the set, with `given` values for the other inputs.
pub fn evaluate(
    teacher: &[u8],
    student: &[u8],
    set: &ImageSet,
    preprocess: &Preprocess,
    given: &Given,
) -> Result<Evaluation, CompressError> {
    let model = onnx::decode(teacher)?;
    let graph = &model.graph;
    let input = ImageInput::of(graph, given)?;
    let others = onnx::decode(student)?.graph;
    let theirs = ImageInput::of(&others, given)?;
    if theirs.file_name != input.file_name || theirs.channels != input.channels {
        return Err(NetworkError::ModelInterface(format!(
            "the two networks have different inputs: \"{}\" with {} channels and \"{}\" with {}",
            input.file_name, input.channels, theirs.file_name, theirs.channels
        ))
        .into());
    }
    let companions = side_inputs::find(graph, &input, given)?;
    side_inputs::check(&input, &companions, given)?;
    let preprocess = &input.preprocess(preprocess)?;
    let size = preprocess.check(input.wants(), set.images())?;
    let images = to_tensor(&set.tensor_data(preprocess, size)?)?;
    // A graph that cannot be folded is looked at unchanged.
    let folded = |graph: &Graph| fold(graph, &InputShapes::new()).unwrap_or_else(|_| graph.clone());
    let (looked_at, output) = (folded(graph), &graph.outputs[0].name);
    let (first, theirs_first) = (stands_for(&looked_at, output), stands_for(&folded(&others), output));
    let from_teacher =
        in_onnxruntime::outputs(&input, &companions, std::slice::from_ref(&first), teacher, &images)?.remove(0);
    let from_student =
        in_onnxruntime::outputs(&theirs, &companions, std::slice::from_ref(&theirs_first), student, &images)?.remove(0);
    let labels: Vec<Option<u32>> = set.images().iter().map(|image| image.label).collect();
    let told = match first == *output {
        true => classes::told(&looked_at, &first, &model.metadata()),
        false => classes::told_of_label(&looked_at, &first, &model.metadata()),
    };
    let classes_by = classes::decide(told, &from_teacher, &labels)?;
    let right = match classes_by {
        Some(_) => top1(&from_teacher, &labels)?.zip(top1(&from_student, &labels)?),
        None => None,
    };
    let output_mse = from_student.f_mse_loss(&from_teacher, tch::Reduction::Mean)?.f_double_value(&[])?;
    Ok(Evaluation {
        images: set.len(),
        labelled: set.labelled(),
        agreement: classes_by.map_or(Ok(None), |_| agreement(&from_student, &from_teacher))?,
        classes_by,
        top1: right.map(|(teacher, student)| Top1 { teacher, before_finetune: None, student }),
        output_mse,
        output_share: share(output_mse, constant_loss(&[from_teacher])?),
    })
}

/// The value that represents an output: itself, or the scores that a label is computed from.
fn stands_for(graph: &Graph, output: &str) -> String {
    Judge::new(graph).of(output).first().map_or(output, |value| value).to_owned()
}
