//! Checks that a student's outputs depend on the images: a constant is useless, however small its loss is.

use crate::compress::CompressError;
use crate::compress::pipeline::{Bench, FinetuneSummary};
use crate::compress::quality::classes::top_classes;
use crate::spec::report::{OutputQuality, Warning};

/// Share of the best constant answer's error from which a student is close to one.
const NEAR: f64 = 0.5;

/// Correlation with the teacher's from which class scores are meaningful.
const FOLLOWS: f64 = 0.25;

/// Agreement below which a student does not replace its teacher.
const LOW_AGREEMENT: f64 = 0.8;

/// Refuses a recovered student one of whose outputs is no better than a constant. One that was asked for as dropped is delivered,
/// with a warning: the caller can train it elsewhere.
pub(crate) fn check(bench: &Bench, summary: &FinetuneSummary) -> Result<(), CompressError> {
    let dead = match summary.report {
        Some(_) if !summary.dropped.is_empty() => dead(bench, summary)?,
        _ => None,
    };
    match dead {
        Some(OutputQuality { name, error, .. }) => Err(CompressError::NoBetterThanConstant {
            output: name.clone(),
            share: error.unwrap_or(1.0),
            dropped: summary.dropped.join(", "),
        }),
        None => Ok(()),
    }
}

/// The first output that is no better than a constant.
fn dead<'s>(bench: &Bench, summary: &'s FinetuneSummary) -> Result<Option<&'s OutputQuality>, CompressError> {
    let is_dead = |output: &&OutputQuality| output.error.is_some_and(|share| share.is_nan() || share >= 1.0);
    let Some(dead) = summary.outputs.iter().find(is_dead) else { return Ok(None) };
    // Of classes, the top one may still be right though the numbers are far off: what counts is which are larger than others.
    let follows = dead.correlation.is_some_and(|correlation| correlation >= FOLLOWS);
    let of_classes = dead.name == bench.network.outputs[0].name && bench.classes()?.is_some();
    let alive = of_classes && (follows || tells_classes(bench, summary)?);
    Ok(if alive { summary.outputs.iter().skip(1).find(is_dead) } else { Some(dead) })
}

/// Whether a student agrees with its teacher on more images than a constant prediction of the teacher's most frequent class.
fn tells_classes(bench: &Bench, summary: &FinetuneSummary) -> Result<bool, CompressError> {
    let Some(agreement) = summary.after.agreement else { return Ok(false) };
    let classes = top_classes(&bench.setting()?.deciding().output)?.unwrap_or_default();
    let favourite = classes.iter().map(|class| classes.iter().filter(|other| *other == class).count()).max();
    Ok(agreement.value * classes.len() as f64 > favourite.unwrap_or(0) as f64)
}

/// Warnings about a student whose outputs are far from its teacher's.
pub(crate) fn warnings(summary: &FinetuneSummary) -> Vec<Warning> {
    let constant = summary.outputs.iter().filter(|output| output.constant == Some(0.0)).map(constant_output);
    if summary.dropped.is_empty() {
        return constant.collect();
    }
    let far = summary.outputs.iter().filter_map(far_from_teacher);
    low_agreement(summary).into_iter().chain(far).chain(constant).collect()
}

/// Of an output that says the same of all images, no error tells anything.
fn constant_output(output: &OutputQuality) -> Warning {
    let detail = format!(
        "output \"{}\" of the network is the same for all images, so it cannot be learned or measured; check the \
         preprocessing, and send more varied images",
        output.name
    );
    Warning { code: "constant_output".into(), detail }
}

fn far_from_teacher(output: &OutputQuality) -> Option<Warning> {
    let share = output.error.filter(|share| share.is_nan() || *share >= NEAR)?;
    let name = &output.name;
    let (code, detail) = match share < 1.0 {
        true => (
            "near_constant",
            format!(
                "output \"{name}\" of the student is close to a constant: its error is {share:.2} times that of the best \
                 constant answer (0 is the teacher, 1 a constant); drop fewer blocks, send more images, or check their \
                 preprocessing"
            ),
        ),
        false => (
            "no_better_than_constant",
            format!(
                "output \"{name}\" of the student is no better than a constant: its error is {share:.2} times that of the best \
                 constant answer; drop fewer blocks, or train the student further"
            ),
        ),
    };
    Some(Warning { code: code.into(), detail })
}

fn low_agreement(summary: &FinetuneSummary) -> Option<Warning> {
    let agreement = summary.after.agreement.filter(|agreement| agreement.value < LOW_AGREEMENT)?;
    let fix = match summary.report {
        Some(_) => "drop fewer blocks, or send more images of the kind that the network is used on",
        None => {
            "nothing was refitted or trained, because \"finetune\" is null; {\"steps\": 0} refits without training, and the \
             default trains"
        }
    };
    let detail = format!(
        "student and teacher predict the same class for {:.1} % of the validation images; {fix}",
        100.0 * agreement.value
    );
    Some(Warning { code: "low_agreement".into(), detail })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(error: Option<f64>) -> OutputQuality {
        OutputQuality {
            name: "y".into(),
            constant: Some(1.0),
            error_before_finetune: None,
            error_refit: None,
            error,
            correlation: None,
        }
    }

    #[test]
    fn the_nearer_to_a_constant_the_louder() {
        let code = |error| far_from_teacher(&output(error)).map(|warning| warning.code);
        assert_eq!((code(Some(0.1)), code(None)), (None, None));
        assert_eq!(code(Some(0.9)).as_deref(), Some("near_constant"));
        assert_eq!(code(Some(1.0)).as_deref(), Some("no_better_than_constant"));
        assert_eq!(code(Some(f64::NAN)).as_deref(), Some("no_better_than_constant"));
    }
}
