//! How well a student stands in for its teacher on given images.

use tch::Tensor;

use super::CompressError;
use super::distill::{Answers, feature_loss};
use super::report::{Figure, Quality};

/// Agreement and feature loss of two networks' answers about the same images.
pub fn compare(student: &Answers, teacher: &Answers) -> Result<Quality, CompressError> {
    let feature_loss = feature_loss(&student.features, &teacher.features)?.f_double_value(&[])?;
    let feature_loss = super::distill::finite(feature_loss)?;
    Ok(Quality { agreement: agreement(&student.output, &teacher.output)?, feature_loss })
}

/// Share of images where both pick the same top class; `None` where the output, (N, classes), is no classifier's.
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

/// The top class of every image where the output is (N, classes) with at least two classes, or that with trailing ones.
pub fn top_classes(output: &Tensor) -> Result<Option<Vec<i64>>, CompressError> {
    let size = output.size();
    let classifies = size.len() >= 2 && size[0] > 0 && size[1] >= 2 && size[2..].iter().all(|side| *side == 1);
    if !classifies {
        return Ok(None);
    }
    let top = output.f_reshape([size[0], size[1]])?.f_argmax(1, false)?;
    Ok(Some(Vec::<i64>::try_from(&top)?))
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
    fn a_map_is_no_classification() {
        let map = Tensor::zeros([2, 3, 4, 4], (tch::Kind::Float, tch::Device::Cpu));
        assert_eq!(agreement(&map, &map).expect("no error"), None);
    }
}
