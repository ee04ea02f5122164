//! JSON that customers write, read into types: the bodies of requests, and files named on the command line.
//!
//! serde alone accepts an array as a struct and reports errors in Rust terms. [`read`] accepts only an object for a struct and
//! reports a [`Mistake`] in JSON terms, with its place.

mod mistake;
mod strict;

pub use mistake::{Mistake, Wrong, escape};

use serde::de::DeserializeOwned;
use serde_json::Value;

use strict::Strict;

/// Reads a value.
///
/// # Errors
/// The first error, with its place.
pub fn read<T: DeserializeOwned>(value: &Value) -> Result<T, Mistake> {
    serde_path_to_error::deserialize(Strict(value)).map_err(Mistake::from)
}

/// A value in a few words, for messages: scalars as they are, shortened, and `an array` or `an object`.
pub fn told(value: &Value) -> String {
    match value {
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        scalar => shortened(&scalar.to_string()),
    }
}

/// JSON pointer to the first string or key that contains a NUL character, which PostgreSQL stores neither in text nor in jsonb.
pub fn find_nul(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => text.contains('\0').then(String::new),
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(index, item)| Some(format!("/{index}{}", find_nul(item)?)))
        }
        Value::Object(fields) => fields.iter().find_map(|(key, item)| match key.contains('\0') {
            true => Some(format!("/{}", escape(key))),
            false => Some(format!("/{}{}", escape(key), find_nul(item)?)),
        }),
        _ => None,
    }
}

/// Maximum number of characters of a customer's text in a message.
const SHOWN: usize = 80;

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        inner: Option<Inner>,
        list: Option<Vec<u32>>,
        by_name: Option<BTreeMap<String, Inner>>,
        colour: Option<Colour>,
        kind: Option<Kind>,
        on: Option<bool>,
        small: Option<i8>,
        text: Option<String>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        a: u32,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Colour {
        Red,
        Blue,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Side(u32),
    }

    fn mistake(value: Value) -> (String, String) {
        let mistake = read::<Outer>(&value).expect_err("a mistake");
        (mistake.pointer.clone(), mistake.to_string())
    }

    #[test]
    fn an_array_is_no_object_at_any_depth() {
        for (value, at) in [
            (json!([]), ""),
            (json!({"inner": []}), "/inner"),
            (json!({"inner": [1]}), "/inner"),
            (json!({"by_name": []}), "/by_name"),
            (json!({"by_name": {"x": [1]}}), "/by_name/x"),
        ] {
            assert_eq!(mistake(value), (at.to_owned(), "expected an object, got an array".to_owned()));
        }
    }

    #[test]
    fn mistakes_are_told_in_words_of_json() {
        let cases = [
            (json!({"inner": {}}), "/inner", "the field \"a\" is missing"),
            (
                json!({"inner": {"a": -1}}),
                "/inner/a",
                "-1 is out of range: expected a whole number from 0 to 4294967295",
            ),
            (json!({"inner": {"a": 1.5}}), "/inner/a", "expected a whole number from 0 to 4294967295, got 1.5"),
            (json!({"small": 200}), "/small", "200 is out of range: expected a whole number from -128 to 127"),
            (json!({"list": {}}), "/list", "expected an array, got an object"),
            (json!({"list": [1, "x"]}), "/list/1", "expected a whole number from 0 to 4294967295, got \"x\""),
            (json!({"on": "yes"}), "/on", "expected true or false, got \"yes\""),
            (json!({"text": 3}), "/text", "expected a string, got 3"),
            (json!({"colour": "green"}), "/colour", "\"green\" is not one of \"red\", \"blue\""),
            (json!({"colour": {"red": null}}), "/colour", "expected one of \"red\", \"blue\", got an object"),
            (json!({"colour": 3}), "/colour", "expected one of \"red\", \"blue\", got 3"),
            (json!({"kind": "side"}), "/kind", "expected an object, got a string"),
            (
                json!({"kind": {"side": [1]}}),
                "/kind/side",
                "expected a whole number from 0 to 4294967295, got an array",
            ),
            (json!({"kind": {"edge": 1}}), "/kind", "\"edge\" is not one of \"side\""),
            (json!({"inner": {"a": 1, "b": 2}}), "/inner/b", "unknown field \"b\""),
        ];
        for (value, at, words) in cases {
            assert_eq!(mistake(value.clone()), (at.to_owned(), words.to_owned()), "{value}");
        }
        assert_eq!(read::<f64>(&Value::Null).expect_err("no number").to_string(), "expected a number, got null");
        assert_eq!(
            read::<Outer>(&json!({"colour": "blue", "kind": {"side": 2}})).expect("reads").kind,
            Some(Kind::Side(2))
        );
        let long = mistake(json!({"on": "x".repeat(10_000)})).1;
        assert!(long.len() < 200, "{long}");
    }

    #[test]
    fn nul_characters_are_found_wherever_they_are() {
        assert_eq!(find_nul(&json!({"a": [1, {"b": "x"}], "c": null})), None);
        assert_eq!(find_nul(&json!({"a": [1, {"b/c": "x\0"}]})).as_deref(), Some("/a/1/b~1c"));
        assert_eq!(find_nul(&json!([{"\0": 1}])).as_deref(), Some("/0/\0"));
    }
}
