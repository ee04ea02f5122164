//! Reads the files that are named on the command line.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::compress::CompressError;
use crate::images::{ImageSet, Limits, Preprocess};
use crate::json;
use crate::onnx::external;

use super::failure::Failure;

/// A whole file.
pub fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::input("file_unreadable", format!("{}: {error}", path.display())))
}

/// A network in one piece: weights in files next to it, as PyTorch writes them, are put into it.
pub fn read_model(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = read(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut open = |location: &Path| {
        let file = folder.join(location);
        File::open(&file).map_err(|error| format!("{}: {error}", file.display()))
    };
    let whole = external::in_one_piece(&bytes, &mut open).map_err(CompressError::from)?;
    Ok(whole.unwrap_or(bytes))
}

/// Reads a JSON file of a known type; an error names the place that does not fit.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let refused = |why: String| Failure::input("invalid_json", format!("{}: {why}", path.display()));
    let value: Value = serde_json::from_slice(&read(path)?).map_err(|error| refused(error.to_string()))?;
    json::read(&value).map_err(|mistake| match mistake.pointer.as_str() {
        "" => refused(mistake.to_string()),
        at => refused(format!("at {at}: {mistake}")),
    })
}

/// How images are preprocessed: from a file, or as they are.
pub fn read_preprocess(path: Option<&Path>) -> Result<Preprocess, Failure> {
    path.map_or_else(|| Ok(Preprocess::default()), read_json)
}

/// Images from a zip or a folder, with labels from a CSV if given.
pub fn read_images(path: &Path, labels: Option<&Path>) -> Result<ImageSet, Failure> {
    let set = ImageSet::open(path, &Limits::default())?;
    for refused in set.refused() {
        eprintln!("practised: {} is skipped: {}", refused.name, refused.reason);
    }
    match labels {
        Some(csv) => Ok(set.with_labels(&read(csv)?)?),
        None => Ok(set),
    }
}

/// Prints a value as JSON on stdout.
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::internal(error.to_string()))?;
    println!("{text}");
    Ok(())
}

/// Prints a value as one line of JSON on stdout.
pub fn print_json_line(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(|error| Failure::internal(error.to_string()))?;
    println!("{text}");
    Ok(())
}

/// Writes a file whole or not at all.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed =
        |error: &dyn std::fmt::Display| Failure::input("file_unwritable", format!("{}: {error}", path.display()));
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // For others to read too, as far as the umask lets them: a temporary file is not by itself.
    let readable = std::fs::Permissions::from_mode(0o666);
    let half = tempfile::Builder::new().permissions(readable).tempfile_in(folder).map_err(|error| failed(&error))?;
    std::fs::write(half.path(), bytes).map_err(|error| failed(&error))?;
    half.persist(path).map_err(|error| failed(&error))?;
    Ok(())
}
