//! Errors of a whole image set.

use std::fmt;
use std::io;

use crate::problem::{self, Code, Problem};

/// An error of a whole image set; every message has the fix.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The bytes are not a zip archive, or it is damaged.
    #[error("the archive cannot be read as a zip ({0}); pack the images into a plain zip and send that")]
    NotAZip(String),
    /// The archive would unpack to more than its size allows.
    #[error("the archive is refused as a zip bomb: {0}; pack plain image files with any common zip program")]
    Bomb(String),
    /// An entry's name leaves the archive.
    #[error("entry {name:?} of the archive {fault}; pack the images with relative names and without links")]
    UnsafeEntry {
        /// The name in the archive.
        name: String,
        /// The error of it.
        fault: &'static str,
    },
    /// Two files have one name, so it would be unclear which one counts.
    #[error("two files are named {0:?}; every image needs a unique name")]
    DuplicateName(String),
    /// A limit is exceeded.
    #[error("{what} {found} and the limit is {limit}; {way_out}")]
    TooLarge {
        /// What is counted, with its verb.
        what: String,
        /// How much there is.
        found: u64,
        /// How much there may be.
        limit: u64,
        /// The fix.
        way_out: &'static str,
    },
    /// Not one usable image.
    #[error("none of the files is a usable image ({reasons}); send JPEG, PNG, BMP, WebP or TIFF files")]
    NoImages {
        /// The first few refusals.
        reasons: String,
    },
    /// The labels file cannot be used.
    #[error("labels: {0}; a labels file is a csv whose first line is file,label and whose labels are class numbers")]
    Labels(String),
    /// The preprocessing is invalid.
    #[error("preprocess: {}", list(.0))]
    Preprocess(Vec<PreprocessFault>),
    /// The preprocessed images do not fit the model's input.
    #[error("{detail}; {hint}")]
    InputMismatch {
        /// What does not fit, with an example.
        detail: String,
        /// The preprocessing that fixes it.
        hint: String,
    },
    /// An image that was readable when the set was opened no longer is: our failure.
    #[error("image {name:?} could not be decoded again: {detail}")]
    Decode {
        /// The image.
        name: String,
        /// Message of the decoder.
        detail: String,
    },
    /// The file or folder cannot be read.
    #[error("{path} cannot be read: {source}")]
    Io {
        /// Path of the file.
        path: String,
        /// Why not.
        source: io::Error,
    },
}

/// A field of [`Preprocess`](super::Preprocess) that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreprocessFault {
    /// The field.
    pub field: &'static str,
    /// The error of it.
    pub detail: String,
    /// A valid value.
    pub hint: &'static str,
}

impl ImageError {
    /// The kind of problem that it is.
    pub fn code(&self) -> Code {
        match self {
            Self::NotAZip(_) => Code::NotAZip,
            Self::Bomb(_) => Code::ZipBomb,
            Self::UnsafeEntry { .. } => Code::UnsafeArchiveEntry,
            Self::DuplicateName(_) => Code::DuplicateImageName,
            Self::TooLarge { .. } => Code::ImageSetTooLarge,
            Self::NoImages { .. } => Code::NoUsableImage,
            Self::Labels(_) => Code::InvalidLabels,
            Self::Preprocess(_) => Code::InvalidPreprocess,
            Self::InputMismatch { .. } => Code::ImagesDoNotFit,
            Self::Decode { .. } => Code::ImageDecodeFailed,
            Self::Io { .. } => Code::ImagesUnreadable,
        }
    }

    /// True if the images are invalid, false if the service failed to read them.
    pub fn is_input(&self) -> bool {
        match self {
            Self::Decode { .. } => false,
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory
            ),
            _ => true,
        }
    }

    /// The error for a customer, in words that say nothing about this host, with its single faults and their fixes.
    pub fn problem(&self) -> Problem {
        let detail = match self {
            Self::Decode { name, .. } => format!("image {name:?} could not be decoded again"),
            Self::Io { .. } => "the images could not be read".to_owned(),
            error => error.to_string(),
        };
        let problem = Problem::new(self.code(), detail);
        match self {
            Self::InputMismatch { hint, .. } => problem.at("/preprocess", hint.clone()),
            Self::Preprocess(faults) => problem.with_errors(faults.iter().map(PreprocessFault::to_problem)),
            _ => problem,
        }
    }

    pub(super) fn io(path: &std::path::Path, source: io::Error) -> Self {
        Self::Io { path: path.display().to_string(), source }
    }
}

impl PreprocessFault {
    /// The fault with its place in a job's body.
    pub fn to_problem(&self) -> problem::Fault {
        let Self { field, detail, hint } = self;
        let pointer = Some(format!("/preprocess/{field}"));
        problem::Fault { pointer, detail: detail.clone(), hint: Some((*hint).to_owned()), ..problem::Fault::default() }
    }
}

impl fmt::Display for PreprocessFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.field, self.detail, self.hint)
    }
}

fn list(faults: &[PreprocessFault]) -> String {
    faults.iter().map(PreprocessFault::to_string).collect::<Vec<_>>().join("; ")
}
