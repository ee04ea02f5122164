//! What the customer should know beside the figures.

pub(super) mod alive;
mod flat;

use super::{Bench, FinetuneSummary, Selection};
use crate::compress::CompressError;
use crate::compress::pictures::ImageProblem;
use crate::compress::quality::classes::top_classes;
use crate::compress::quality::relative::constant_loss;
use crate::network::input::side_inputs::SideInput;
use crate::spec::config::Target;
use crate::spec::latency::Reduction;
use crate::spec::report::{ImageSource, Outcome, SizeReport, Warning};
use crate::spec::task::Measured;

/// So many images of one class may be chance.
const FEWEST_OF_A_CLASS: usize = 4;

/// Images held out below which a share of them says little: its 95 % interval is wider than ±10 points.
const FEW_IMAGES: usize = 100;

/// Everything worth a sentence.
pub(super) fn warnings(
    bench: &Bench,
    measured: &Measured,
    selection: &Selection,
    summary: &FinetuneSummary,
    outcome: Outcome,
    reduction: &Reduction,
    size: &SizeReport,
) -> Result<Vec<Warning>, CompressError> {
    let far = alive::warnings(summary);
    let checks = [
        no_gain(measured),
        nothing_dropped(selection, summary),
        short_of_target(bench, outcome, reduction),
        reduction_is_noise(selection, reduction),
        floor_hit(bench, summary),
        rolled_back(summary),
        constant_features(bench)?,
        one_class(bench)?,
        made_images(bench),
        other_inputs(bench),
        foreign_images(bench),
        repeated_images(bench),
        nearly_constant(bench)?,
        few_images(bench),
        fitted_on_all(bench, summary),
        labels_unused(bench)?,
        left_shared(summary),
        larger(&summary.dropped, size),
    ];
    Ok(far.into_iter().chain(checks.into_iter().flatten()).collect())
}

fn warning(code: &str, detail: String) -> Option<Warning> {
    Some(Warning { code: code.into(), detail })
}

/// What the inputs next to the images were fed: every figure holds for that alone.
fn other_inputs(bench: &Bench) -> Option<Warning> {
    let fed: Vec<String> = bench.network.companions.iter().filter_map(SideInput::told).collect();
    if fed.is_empty() {
        return None;
    }
    let detail = format!(
        "the network has other inputs than the images; they had fixed values: {}; recovery, quality and latency hold for these \
         values only",
        fed.join(", ")
    );
    warning("other_inputs", detail)
}

fn no_gain(measured: &Measured) -> Option<Warning> {
    let blocks = measured.reductions.iter().filter(|(_, single)| !single.measurable);
    let names: Vec<&str> = blocks.map(|(name, _)| name.as_str()).collect();
    if names.is_empty() {
        return None;
    }
    let detail = format!("dropping these blocks saves no measurable time, so they were kept: {}", names.join(", "));
    warning("no_measurable_gain", detail)
}

fn nothing_dropped(selection: &Selection, summary: &FinetuneSummary) -> Option<Warning> {
    if !selection.chosen.dropped.is_empty() || !summary.given_up.is_empty() {
        return None;
    }
    warning("nothing_dropped", "dropping any block saves no measurable time: the student is the teacher".into())
}

fn short_of_target(bench: &Bench, outcome: Outcome, reduction: &Reduction) -> Option<Warning> {
    let value = reduction.value;
    match (outcome, bench.config.target) {
        (Outcome::TargetMet, Target::LatencyReduction(wanted)) if value < wanted => warning(
            "target_within_noise",
            format!(
                "the reduction over all rounds is {value:.3}, below the target of {wanted} by less than its own noise"
            ),
        ),
        (Outcome::TargetUnreachable, _) => warning(
            "target_unreachable",
            "no allowed set of blocks meets the target; this student is the fastest that was found".into(),
        ),
        _ => None,
    }
}

fn reduction_is_noise(selection: &Selection, reduction: &Reduction) -> Option<Warning> {
    if reduction.gain().is_some() || selection.chosen.dropped.is_empty() {
        return None;
    }
    warning(
        "no_reduction",
        "the interval of the latency reduction contains 0, so the reduction is not significant".into(),
    )
}

fn floor_hit(bench: &Bench, summary: &FinetuneSummary) -> Option<Warning> {
    let floor = bench.config.quality_floor?.agreement;
    if summary.after.agreement.is_none() {
        let detail = "the model was not recognised as a classifier, so quality_floor could not be checked; upload labels with \
            the images, or name the output `logits`";
        return warning("quality_floor_not_measured", detail.into());
    }
    let best = summary.given_up.last()?;
    let detail = format!(
        "without {} the recovered student agrees with the teacher on {:.3} of the images, below quality_floor: {floor}",
        best.dropped.join(", "),
        best.agreement.value
    );
    let kept = match summary.dropped.is_empty() {
        true => "the student is the teacher".to_owned(),
        false => format!("only {} was dropped", summary.dropped.join(", ")),
    };
    warning("quality_floor_hit", format!("{detail}; {kept}"))
}

fn rolled_back(summary: &FinetuneSummary) -> Option<Warning> {
    let report = summary.report.as_ref().filter(|report| report.recovery_rolled_back)?;
    if report.gain_doubted {
        let detail = "only synthetic images were available for validation, and the loss on them fell too little to expect the \
            same on real images; the student was neither refitted nor trained";
        return warning("recovery_rolled_back", detail.into());
    }
    let detail = format!(
        "training did not lower the validation loss: the student is delivered {}",
        match report.refit.as_ref().is_some_and(|refit| !refit.refitted.is_empty()) {
            true => "as refitted, without training",
            false => "without recovery",
        }
    );
    warning("recovery_rolled_back", detail)
}

/// Features that are the same for every image make every loss 0 and every figure empty.
fn constant_features(bench: &Bench) -> Result<Option<Warning>, CompressError> {
    let setting = bench.setting()?;
    if constant_loss(&setting.deciding().features)? != Some(0.0) {
        return Ok(None);
    }
    let detail = "the network's features are the same for all images, so losses measured on them have no meaning; check the \
        preprocessing, and that the model is trained";
    Ok(warning("constant_features", detail.into()))
}

/// A student that always says the same agrees with a teacher that does, on such images.
fn one_class(bench: &Bench) -> Result<Option<Warning>, CompressError> {
    let setting = bench.setting()?;
    if bench.classes()?.is_none() {
        return Ok(None);
    }
    let Some(classes) = top_classes(&setting.deciding().output)? else { return Ok(None) };
    let Some(only) = only_class(&classes) else { return Ok(None) };
    let detail = format!(
        "the network predicts the same class ({only}) for all {} validation images, so the agreement does not cover other \
         classes; send images of other classes too",
        classes.len()
    );
    Ok(warning("one_class", detail))
}

fn only_class(classes: &[i64]) -> Option<i64> {
    let (first, others) = classes.split_first()?;
    (classes.len() >= FEWEST_OF_A_CLASS && others.iter().all(|class| class == first)).then_some(*first)
}

fn made_images(bench: &Bench) -> Option<Warning> {
    let made = match bench.rung {
        ImageSource::Given | ImageSource::GivenAndProcedural => return None,
        ImageSource::Procedural => "procedural images",
        ImageSource::Synthesised => "synthetic images that the network recognises",
    };
    let detail = format!(
        "no images were given, so the student was recovered and measured on {made}. Its quality on your images is unknown; \
         measure it with `practised evaluate`, or send a few images"
    );
    warning("made_images", detail)
}

fn foreign_images(bench: &Bench) -> Option<Warning> {
    let (code, what) = match bench.shortcoming? {
        ImageProblem::Colourless => {
            ("colourless_images", "the network takes colour images, but the images have no colour")
        }
        ImageProblem::NotToldApart => (
            "foreign_images",
            "the network is uncertain about the images, or predicts the same for many of them: it was trained on other images, \
             or with another preprocessing",
        ),
    };
    let detail = format!(
        "{what}; synthetic images were added for fitting. The quality figures are measured on the given images and may not \
         hold for others; send images of the kind that the network is used on"
    );
    warning(code, detail)
}

/// Of given images: made ones vary.
fn nearly_constant(bench: &Bench) -> Result<Option<Warning>, CompressError> {
    if bench.rung.is_made() {
        return Ok(None);
    }
    flat::nearly_constant(&bench.samples.images, &bench.config.preprocess, &bench.names)
}

fn repeated_images(bench: &Bench) -> Option<Warning> {
    let (repeated, all) = (bench.samples.repeated, bench.samples.images.size()[0]);
    if repeated == 0 {
        return None;
    }
    let detail = format!("{repeated} of the {all} images are duplicates after preprocessing and were not used");
    warning("repeated_images", detail)
}

fn few_images(bench: &Bench) -> Option<Warning> {
    let (fit, held_out) = (bench.samples.fit.len(), bench.samples.held_out.len());
    match held_out {
        0 => warning(
            "no_held_out_images",
            format!(
                "{fit} images are too few for validation images: the quality figures are measured on images that were fitted \
                 and may not hold for others; procedural images were added for fitting, and mixtures were used for validation"
            ),
        ),
        n if n < FEW_IMAGES => warning(
            "few_held_out_images",
            format!("the quality figures are measured on only {n} validation images; see their intervals"),
        ),
        _ => None,
    }
}

fn fitted_on_all(bench: &Bench, summary: &FinetuneSummary) -> Option<Warning> {
    summary.report.as_ref().filter(|report| report.fitted_on_all_images)?;
    let detail = format!(
        "the quality figures come from a run that did not see the {} validation images; the delivered student was then fitted \
         on all images",
        bench.samples.held_out.len()
    );
    warning("fitted_on_all_images", detail)
}

/// Labels that nothing is reported of.
fn labels_unused(bench: &Bench) -> Result<Option<Warning>, CompressError> {
    if bench.classes()?.is_some() || bench.labels.iter().all(Option::is_none) {
        return Ok(None);
    }
    let detail = "the images have labels, but the network predicts them no better than chance and was not recognised as a \
        classifier, so no accuracy is reported; check the class numbers and the preprocessing";
    Ok(warning("labels_unused", detail.into()))
}

fn left_shared(summary: &FinetuneSummary) -> Option<Warning> {
    let left = &summary.report.as_ref()?.refit.as_ref()?.left_shared;
    if left.is_empty() {
        return None;
    }
    let detail = format!(
        "these layers share their kernel with layers that could not be refitted, so they were not refitted either: {}",
        left.join(", ")
    );
    warning("shared_not_refitted", detail)
}

/// Dropping is to make a network smaller.
fn larger(dropped: &[String], size: &SizeReport) -> Option<Warning> {
    let SizeReport { teacher, student } = size;
    let grown = student.parameters > teacher.parameters || student.bytes > teacher.bytes;
    if dropped.is_empty() || !grown {
        return None;
    }
    let detail = format!(
        "the student is larger than the teacher: {} parameters and {} bytes instead of {} and {}",
        student.parameters, student.bytes, teacher.parameters, teacher.bytes
    );
    warning("larger_student", detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::report::Size;

    #[test]
    fn a_student_that_is_larger_says_so() {
        let size = |parameters, bytes| Size { parameters, macs: 9, bytes };
        let said = |student, dropped: &[String]| larger(dropped, &SizeReport { teacher: size(100, 500), student });
        let dropped = ["layer1.1".to_owned()];
        assert!(said(size(90, 450), &dropped).is_none());
        for grown in [size(101, 450), size(90, 501)] {
            assert_eq!(said(grown, &dropped).expect("it is said").code, "larger_student");
        }
        assert!(said(size(100, 700), &[]).is_none(), "nothing was dropped, and that is said");
    }

    #[test]
    fn one_class_is_one_only_where_it_cannot_be_chance() {
        assert_eq!(only_class(&[2, 2, 2, 2, 2]), Some(2));
        assert_eq!(only_class(&[2, 2, 1, 2, 2]), None);
        assert_eq!((only_class(&[2, 2, 2]), only_class(&[])), (None, None));
    }
}
