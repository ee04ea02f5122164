//! Values that a job gives for a network's inputs, and their validation.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Values of inputs, by name.
pub type Given = BTreeMap<String, Value>;

/// Value of an input: one number for all its elements, all elements for one image (row-major), or the images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a number, an array of numbers, or \"images\"")]
pub enum Value {
    /// Every element has this value.
    All(f64),
    /// One value per element of one image, row-major.
    Each(Vec<f64>),
    /// The images themselves: this is the input that takes them.
    Word(Word),
}

/// A value that is not a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// The job's images.
    Images,
}

/// An input other than the images, as reported to customers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SideInputInfo {
    /// Name of the input in the file.
    pub name: String,
    /// True if a job must give a value.
    pub needs_value: bool,
    /// Elements of the value for one image; 1 if one number fills a map of the images' size.
    pub elements: usize,
    /// True if it takes integers only (int64).
    #[serde(default)]
    pub whole_numbers: bool,
    /// True if its height or width is dynamic and follows the images.
    #[serde(default)]
    pub of_images_size: bool,
    /// True if a job may give the images to this input.
    #[serde(default)]
    pub may_take_images: bool,
    /// True if no node reads it.
    #[serde(default)]
    pub unused: bool,
}

/// An input whose value is missing or invalid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputFault {
    /// Name of the input in the file.
    pub name: String,
    /// The cause.
    pub detail: String,
    /// The fix.
    pub hint: String,
}

/// Maximum number of input names in a hint.
const MOST_LISTED: usize = 10;

/// Checks the values that a job gives for a network's inputs; `image` is the input that takes the images.
pub fn faults(image: &str, companions: &[SideInputInfo], given: &Given) -> Vec<InputFault> {
    let names: BTreeSet<&str> = companions.iter().map(|companion| companion.name.as_str()).collect();
    let of_network = companions.iter().filter_map(|companion| companion.fault(given.get(&companion.name)));
    let unknown = given.iter().filter(|(name, _)| !names.contains(name.as_str()));
    let unknown = unknown.filter(|(name, value)| *name != image || !matches!(value, Value::Word(_)));
    let listed: Vec<String> = names.iter().take(MOST_LISTED).map(|name| format!("\"{name}\"")).collect();
    let unknown = unknown.map(|(name, _)| InputFault {
        name: name.clone(),
        detail: match name == image {
            true => format!("input \"{name}\" takes the images, so it cannot take numbers"),
            false => format!("the network has no other input \"{name}\""),
        },
        hint: match (name == image, listed.first()) {
            (true, Some(other)) => format!("feed the images to another input: \"inputs\": {{{other}: \"images\"}}"),
            (_, None) => "remove it".into(),
            (false, Some(_)) => format!("there are {}", listed.join(", ")),
        },
    });
    of_network.chain(unknown).collect()
}

impl SideInputInfo {
    fn fault(&self, given: Option<&Value>) -> Option<InputFault> {
        let Self { name, elements, .. } = self;
        let (detail, images) = match given {
            None if self.needs_value => {
                (format!("the network has another input \"{name}\" that needs a value"), self.may_take_images)
            }
            Some(Value::Each(values)) if values.len() != *elements => {
                (format!("\"inputs\" gives {} numbers for \"{name}\"", values.len()), false)
            }
            Some(Value::Word(Word::Images)) if !self.may_take_images => {
                (format!("input \"{name}\" cannot take the images"), false)
            }
            Some(value) => (format!("{} for \"{name}\"", self.misfit(value)?), false),
            None => return None,
        };
        let many = match (*elements, self.of_images_size) {
            (_, true) => "one number, used for all elements".to_owned(),
            (1, false) => "one number".to_owned(),
            (_, false) => format!("one number, or {elements} numbers"),
        };
        let instead = if images {
            format!(" (or, if it is the one that takes them, {{\"{name}\": \"images\"}})")
        } else {
            String::new()
        };
        let hint = format!("give its value in the job, {many}: \"inputs\": {{\"{name}\": 0.5}}{instead}");
        Some(InputFault { name: name.clone(), detail, hint })
    }

    /// The first number that the input's type cannot hold.
    fn misfit(&self, value: &Value) -> Option<String> {
        let numbers = match value {
            Value::All(number) => std::slice::from_ref(number),
            Value::Each(numbers) => numbers,
            Value::Word(_) => return None,
        };
        // Both bounds of int64 are powers of two, so they are exact.
        let is_int64 = |number: f64| number.fract() == 0.0 && (-(2f64.powi(63))..2f64.powi(63)).contains(&number);
        let is_float32 = |number: f64| number.abs() <= f64::from(f32::MAX);
        let fits = |number: &&f64| if self.whole_numbers { is_int64(**number) } else { is_float32(**number) };
        let misfit = numbers.iter().find(|number| !fits(number))?;
        let wanted = if self.whole_numbers { "not a whole number within int64" } else { "beyond the range of float32" };
        Some(format!("\"inputs\" gives {misfit}, {wanted},"))
    }
}
