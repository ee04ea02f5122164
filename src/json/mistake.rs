//! Errors of a JSON value, with their places.

use std::fmt;

use serde::de::{Expected, Unexpected};

use super::shortened;

/// The first error of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// JSON pointer to it; empty for the value as a whole.
    pub pointer: String,
    /// The kind of error.
    pub wrong: Wrong,
}

/// Kinds of errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// A value of another type.
    Type {
        /// Description of the actual value.
        found: String,
        /// Description of the expected value.
        wanted: String,
    },
    /// A name where an object belongs, or an object where a name belongs.
    Form {
        /// Description of the actual value.
        found: &'static str,
        /// Description of the expected value.
        wanted: String,
    },
    /// A number out of range, or a value of the right type that is not allowed.
    Range {
        /// Description of the actual value.
        found: String,
        /// Description of the expected value.
        wanted: String,
    },
    /// A field that the object does not have.
    UnknownField {
        /// Name of the field.
        name: String,
        /// The known names.
        known: &'static [&'static str],
    },
    /// A name that is not allowed.
    UnknownName {
        /// The name.
        name: String,
        /// The allowed names.
        known: &'static [&'static str],
    },
    /// A required field is missing.
    MissingField(&'static str),
    /// Message of a type's own validation.
    Other(String),
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.wrong.fmt(f)
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type { found, wanted } => write!(f, "expected {wanted}, got {found}"),
            Self::Form { found, wanted } => write!(f, "expected {wanted}, got {found}"),
            Self::Range { found, wanted } => write!(f, "{found} is out of range: expected {wanted}"),
            Self::UnknownField { name, .. } => write!(f, "unknown field \"{}\"", shortened(name)),
            Self::UnknownName { name, known } => write!(f, "\"{}\" is not {}", shortened(name), one_of(known)),
            Self::MissingField(name) => write!(f, "the field \"{name}\" is missing"),
            Self::Other(words) => f.write_str(words),
        }
    }
}

impl std::error::Error for Wrong {}

impl serde::de::Error for Wrong {
    fn custom<T: fmt::Display>(words: T) -> Self {
        Self::Other(words.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::Type { found: told(found), wanted: in_json(&wanted.to_string()) }
    }

    fn invalid_value(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::Range { found: told(found), wanted: in_json(&wanted.to_string()) }
    }

    fn invalid_length(found: usize, wanted: &dyn Expected) -> Self {
        Self::Type { found: format!("{found} elements"), wanted: in_json(&wanted.to_string()) }
    }

    fn unknown_variant(name: &str, known: &'static [&'static str]) -> Self {
        Self::UnknownName { name: name.to_owned(), known }
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> Self {
        Self::UnknownField { name: name.to_owned(), known }
    }

    fn missing_field(name: &'static str) -> Self {
        Self::MissingField(name)
    }

    fn duplicate_field(name: &'static str) -> Self {
        Self::Other(format!("the field \"{name}\" is given twice"))
    }
}

impl From<serde_path_to_error::Error<Wrong>> for Mistake {
    fn from(error: serde_path_to_error::Error<Wrong>) -> Self {
        // A choice in the wrong form is invalid as a whole.
        let choices = !matches!(error.inner(), Wrong::Form { .. });
        let mut pointer = String::new();
        for segment in error.path().iter() {
            match segment {
                serde_path_to_error::Segment::Seq { index } => pointer += &format!("/{index}"),
                serde_path_to_error::Segment::Map { key } => pointer += &format!("/{}", escape(key)),
                serde_path_to_error::Segment::Enum { variant } if choices => {
                    pointer += &format!("/{}", escape(variant))
                }
                _ => {}
            }
        }
        Self { pointer, wrong: error.into_inner() }
    }
}

/// A name as a segment of a JSON pointer.
pub fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// `one of "a", "b"`.
pub(super) fn one_of(known: &[&str]) -> String {
    let names: Vec<String> = known.iter().map(|name| format!("\"{name}\"")).collect();
    format!("one of {}", names.join(", "))
}

fn told(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(value) => value.to_string(),
        Unexpected::Signed(value) => value.to_string(),
        Unexpected::Float(value) => value.to_string(),
        Unexpected::Str(text) => format!("\"{}\"", shortened(text)),
        Unexpected::Unit | Unexpected::Option => "null".to_owned(),
        Unexpected::Seq => "an array".to_owned(),
        Unexpected::Map | Unexpected::StructVariant | Unexpected::NewtypeVariant => "an object".to_owned(),
        _ => "another value".to_owned(),
    }
}

/// Translates what serde's own types expect into JSON terms; our own types already use them.
fn in_json(wanted: &str) -> String {
    let whole = |low: &dyn fmt::Display, high: &dyn fmt::Display| format!("a whole number from {low} to {high}");
    match wanted {
        "u8" => whole(&0, &u8::MAX),
        "u16" => whole(&0, &u16::MAX),
        "u32" => whole(&0, &u32::MAX),
        "u64" | "usize" => whole(&0, &u64::MAX),
        "i8" => whole(&i8::MIN, &i8::MAX),
        "i16" => whole(&i16::MIN, &i16::MAX),
        "i32" => whole(&i32::MIN, &i32::MAX),
        "i64" | "isize" => whole(&i64::MIN, &i64::MAX),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "an array".to_owned(),
        "a map" => "an object".to_owned(),
        _ if wanted.starts_with("struct ") => "an object".to_owned(),
        _ if wanted.starts_with("a borrowed string") => "a string".to_owned(),
        _ => wanted.strip_suffix(" in sequence").unwrap_or(wanted).to_owned(),
    }
}
