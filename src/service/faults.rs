//! The core's errors as problems: the kind, the words, and the single faults with their places.

use serde_json::Value;

use crate::compress::CompressError;
use crate::images::ImageError;
use crate::problem::{Code, Fault, Problem};

/// What a customer is told about an error of the core.
pub fn problem(error: &CompressError) -> Problem {
    let code = Code::from_code(error.code()).unwrap_or(Code::Internal);
    let problem = Problem::new(code, error.to_string());
    match error {
        CompressError::Images(ImageError::InputMismatch { hint, .. }) => problem.at("/preprocess", hint.clone()),
        error => problem.with_errors(error.parts().iter().map(fault).collect()),
    }
}

/// A part of the core's error. What a node does wrong is a `detail` there, or a `reason`.
fn fault(part: &Value) -> Fault {
    let text = |key: &str| part.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    Fault {
        pointer: text("pointer"),
        node: text("node"),
        op: text("op"),
        detail: text("detail").or_else(|| text("reason")).unwrap_or_default(),
        hint: text("hint"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images;

    #[test]
    fn every_part_of_an_error_keeps_its_place() {
        let fault = |field| images::Fault { field, detail: "nonsense".to_owned(), hint: "give a number" };
        let told = problem(&ImageError::Preprocess(vec![fault("mean"), fault("std")]).into());
        assert_eq!((told.code.as_str(), told.status), ("invalid_preprocess", 422));
        let places: Vec<_> = told.errors.iter().map(|fault| fault.pointer.as_deref()).collect();
        assert_eq!(places, [Some("/preprocess/mean"), Some("/preprocess/std")]);
    }

    #[test]
    fn images_that_do_not_fit_come_with_the_preprocessing_that_mends_it() {
        let error = ImageError::InputMismatch { detail: "too small".to_owned(), hint: "set resize".to_owned() };
        let told = problem(&error.into());
        assert_eq!(told.code, "images_do_not_fit_the_model");
        assert_eq!(told.errors[0].pointer.as_deref(), Some("/preprocess"));
        assert_eq!(told.errors[0].hint.as_deref(), Some("set resize"));
    }
}
