//! Quality of a student compared with its teacher on given images.

pub mod classes;
pub mod difference;
pub mod loss;
pub mod relative;

use tch::{Kind, Tensor};

use self::classes::{are_probabilities, top_classes};
use self::loss::feature_loss;
use self::relative::{constant_loss, share};
use super::CompressError;
use super::student::forward::Answers;
use crate::spec::report::{Figure, Quality};

/// Feature loss of two networks' outputs for the same images, and their agreement if the output is `classes`.
pub fn compare(student: &Answers, teacher: &Answers, classes: bool) -> Result<Quality, CompressError> {
    let feature_loss = feature_loss(&student.features, &teacher.features)?.f_double_value(&[])?;
    let feature_loss = loss::finite(feature_loss)?;
    Ok(Quality {
        agreement: if classes { agreement(&student.output, &teacher.output)? } else { None },
        feature_loss,
        feature_share: share(feature_loss, constant_loss(&teacher.features)?),
    })
}

/// Share of images for which both predict the same class; `None` if the output does not have the shape of classes, (N, k).
/// [`classes`] decides whether it is classes.
pub fn agreement(student: &Tensor, teacher: &Tensor) -> Result<Option<Figure>, CompressError> {
    let (Some(a), Some(b)) = (top_classes(student)?, top_classes(teacher)?) else { return Ok(None) };
    let same = a.iter().zip(&b).filter(|(a, b)| a == b).count();
    Ok(Some(Figure::share(same, a.len())))
}

/// Share of labelled images whose top class is the label; `None` without labels or without classes.
pub fn top1(output: &Tensor, labels: &[Option<u32>]) -> Result<Option<Figure>, CompressError> {
    let Some(classes) = top_classes(output)? else { return Ok(None) };
    let labelled: Vec<bool> =
        classes.iter().zip(labels).filter_map(|(class, label)| label.map(|label| *class == i64::from(label))).collect();
    let hits = labelled.iter().filter(|hit| **hit).count();
    Ok((!labelled.is_empty()).then(|| Figure::share(hits, labelled.len())))
}

/// How well a classifier distinguishes some images.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Discrimination {
    /// Mutual information between image and output, relative to its maximum: 1 if it is certain about each image and predicts
    /// all classes equally often, 0 if its output is the same for all.
    pub mutual_information: f64,
    /// Mean normalised entropy: 0 is certain of one class, 1 is uniform.
    pub mean_entropy: f64,
}

/// Computes both from an output, (N, classes); `None` if the output is not classes, or is for one image.
pub fn sight(output: &Tensor) -> Result<Option<Discrimination>, CompressError> {
    if top_classes(output)?.is_none() || output.size()[0] < 2 {
        return Ok(None);
    }
    let output = output.f_flatten(1, -1)?.f_to_kind(Kind::Double)?;
    let (images, classes) = (output.size()[0], output.size()[1]);
    let shares = if are_probabilities(&output)? { output } else { output.f_softmax(1, Kind::Double)? };
    let entropy = |shares: &Tensor| -> Result<f64, CompressError> {
        let each = shares * shares.f_clamp_min(1e-12)?.f_log()?;
        Ok(-each.f_sum(Kind::Double)?.f_double_value(&[])?)
    };
    let of_all = entropy(&shares.f_mean_dim([0].as_slice(), false, Kind::Double)?)?;
    let of_each = entropy(&shares)? / images as f64;
    let most = |count: i64| (count as f64).ln();
    Ok(Some(Discrimination {
        mutual_information: (of_all - of_each) / most(images.min(classes)),
        mean_entropy: of_each / most(classes),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreement_and_top1_count_images() {
        let teacher = Tensor::from_slice2(&[[1.0f32, 2.0], [3.0, 1.0], [0.0, 5.0], [1.0, 0.0]]);
        let student = Tensor::from_slice2(&[[1.0f32, 9.0], [3.0, 4.0], [0.0, 1.0], [2.0, 0.0]]);
        assert_eq!(agreement(&student, &teacher).expect("classes").expect("a figure").value, 0.75);
        let labels = [Some(1), Some(0), None, Some(1)];
        let share = top1(&student, &labels).expect("classes").expect("labels");
        assert!((share.value - 1.0 / 3.0).abs() < 1e-12, "one of the three labelled images is right");
    }

    #[test]
    fn images_are_told_apart_by_sure_answers_of_many_classes() {
        let seen = |logits: &Tensor| sight(logits).expect("computes").expect("a classifier");
        let sure = Tensor::eye(4, (Kind::Float, tch::Device::Cpu)) * 40.0;
        let all = seen(&sure);
        assert!((all.mutual_information - 1.0).abs() < 1e-6 && all.mean_entropy < 1e-6, "{all:?}");
        assert!(
            (seen(&sure.softmax(1, Kind::Float)).mutual_information - 1.0).abs() < 1e-3,
            "probabilities say the same"
        );
        let mean_entropy = seen(&(&sure * 0.02));
        assert!(mean_entropy.mutual_information < 0.1 && mean_entropy.mean_entropy > 0.9, "{mean_entropy:?}");
        let one_class = seen(&sure.select(0, 1).expand([5, 4], false));
        assert!(one_class.mutual_information.abs() < 1e-6 && one_class.mean_entropy < 1e-6, "{one_class:?}");
        assert_eq!(sight(&sure.narrow(0, 0, 1)).expect("computes"), None);
        assert_eq!(sight(&Tensor::zeros([2, 3, 4, 4], (Kind::Float, tch::Device::Cpu))).expect("computes"), None);
    }

    #[test]
    fn a_map_is_no_classification() {
        let map = Tensor::zeros([2, 3, 4, 4], (Kind::Float, tch::Device::Cpu));
        assert_eq!(agreement(&map, &map).expect("no error"), None);
    }
}
