//! The protocol between the service and its decoder: one line of JSON in each direction. Separate labels follow the request's
//! line unchanged.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::images::{ImageSet, Limits};
use crate::problem::Problem;

/// Maximum number of characters of a reason.
const MOST_LETTERS: usize = 600;

/// The request to decode an image set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Request {
    /// The zip.
    pub archive: PathBuf,
    /// Length of the labels that follow, if any.
    pub has_labels: bool,
    /// Limits of the set.
    pub limits: Limits,
    /// Limit on CPU time, in seconds.
    pub cpu_seconds: u64,
    /// Limit on address space, in bytes beyond what the program has at its start.
    pub memory_bytes: u64,
}

/// The decoder's response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// The contents of the set.
    Found(Found),
    /// The error of the set.
    Refused(Problem),
    /// An internal failure.
    Failed(String),
}

/// Everything that the service stores about a set in addition to its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Found {
    /// Accepted images, by name.
    pub images: Vec<FoundImage>,
    /// Files that are not used, by name.
    pub refused: Vec<FoundRefusal>,
}

/// An accepted image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundImage {
    /// Path in the archive.
    pub name: String,
    /// Size in pixels, after EXIF orientation.
    pub width: u32,
    /// Size in pixels, after EXIF orientation.
    pub height: u32,
    /// Class, if labels gave one.
    pub label: Option<u32>,
}

/// A file that is not used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundRefusal {
    /// Path in the archive.
    pub name: String,
    /// Why it is not used.
    pub reason: String,
}

impl Found {
    /// The contents of an opened set.
    pub(super) fn of(set: &ImageSet) -> Self {
        let images = set.images().iter().map(|image| FoundImage {
            name: image.name.clone(),
            width: image.width,
            height: image.height,
            label: image.label,
        });
        let refused = set.refused().iter();
        let refused = refused.map(|file| FoundRefusal { name: file.name.clone(), reason: plain(&file.reason) });
        Self { images: images.collect(), refused: refused.collect() }
    }

    /// Whether a correct decoder can return this. One that a hostile file has taken over can return anything.
    pub(super) fn is_plausible(&self, limits: &Limits) -> bool {
        let names = self.images.iter().map(|image| &image.name).chain(self.refused.iter().map(|file| &file.name));
        let named = names.clone().count() <= limits.entries
            && names.clone().all(|name| name.len() <= 512 && !name.chars().any(char::is_control));
        let sized = self.images.iter().all(|image| {
            let pixels = u64::from(image.width) * u64::from(image.height);
            (1..=limits.pixels).contains(&pixels)
        });
        let told = self.refused.iter().all(|file| plain(&file.reason) == file.reason);
        !self.images.is_empty() && named && sized && told
    }
}

/// A reason can contain text of a file.
fn plain(reason: &str) -> String {
    reason.chars().filter(|letter| !letter.is_control()).take(MOST_LETTERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, width: u32, height: u32) -> Found {
        let image = FoundImage { name: name.to_owned(), width, height, label: None };
        Found { images: vec![image], refused: Vec::new() }
    }

    #[test]
    fn what_no_honest_decoder_says_is_not_believed() {
        let limits = Limits { entries: 1, pixels: 100, ..Limits::default() };
        assert!(found("a.png", 10, 10).is_plausible(&limits));
        let refusal = FoundRefusal { name: "b".to_owned(), reason: "no image".to_owned() };
        let two = Found { refused: vec![refusal], ..found("a.png", 1, 1) };
        let doubtful = [found("a.png", 101, 1), found("a.png", 0, 1), found("a\nb", 1, 1), two, Found::default()];
        for found in doubtful {
            assert!(!found.is_plausible(&limits), "{found:?}");
        }
    }
}
