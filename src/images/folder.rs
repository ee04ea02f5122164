//! Files out of a folder, for the command line.

use std::fs;
use std::path::{Path, PathBuf};

use super::archive::{Contents, is_clutter, odd_name, shortened};
use super::error::ImageError;
use super::limits::Limits;

/// Reads every file of a folder and its sub-folders, within `limits`. Links inside it are refused, not followed: a
/// folder that somebody unpacked is no more trusted than the archive it came from.
pub(super) fn read(root: &Path, limits: &Limits) -> Result<Contents, ImageError> {
    let mut contents = Contents::default();
    let (mut entries, mut total) = (0, 0);
    let mut folders = vec![(root.to_owned(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        for (path, base) in list(&folder)? {
            entries += 1;
            check_count(entries, limits)?;
            let name = format!("{prefix}{base}");
            let meta = fs::symlink_metadata(&path).map_err(|e| ImageError::io(&path, e))?;
            if is_clutter(&name) {
                continue;
            } else if meta.is_dir() {
                folders.push((path, format!("{name}/")));
            } else if let Some(reason) = refusal(&name, &meta, limits) {
                contents.refuse(shortened(&name), reason);
            } else {
                total += meta.len();
                check_total(total, limits)?;
                let bytes = fs::read(&path).map_err(|e| ImageError::io(&path, e))?;
                contents.take(name, bytes)?;
            }
        }
    }
    contents.sent = total;
    Ok(contents)
}

fn list(folder: &Path) -> Result<Vec<(PathBuf, String)>, ImageError> {
    let entries = fs::read_dir(folder).map_err(|e| ImageError::io(folder, e))?;
    entries
        .map(|entry| {
            let entry = entry.map_err(|e| ImageError::io(folder, e))?;
            Ok((entry.path(), entry.file_name().to_string_lossy().into_owned()))
        })
        .collect()
}

fn refusal(name: &str, meta: &fs::Metadata, limits: &Limits) -> Option<String> {
    if meta.is_symlink() {
        Some("symbolic links are not followed; copy the file itself".to_owned())
    } else if !meta.is_file() {
        Some("not a plain file".to_owned())
    } else if meta.len() > limits.entry_bytes {
        Some(format!("{} bytes are more than the limit of {}; use a smaller file", meta.len(), limits.entry_bytes))
    } else {
        odd_name(name)
    }
}

fn check_count(entries: usize, limits: &Limits) -> Result<(), ImageError> {
    if entries <= limits.entries {
        return Ok(());
    }
    Err(ImageError::TooLarge {
        what: "entries in the folder: at least".to_owned(),
        found: entries as u64,
        limit: limits.entries as u64,
        way_out: "use a folder with fewer images: a few hundred are enough",
    })
}

fn check_total(total: u64, limits: &Limits) -> Result<(), ImageError> {
    if total <= limits.total_bytes {
        return Ok(());
    }
    Err(ImageError::TooLarge {
        what: "bytes of all files: at least".to_owned(),
        found: total,
        limit: limits.total_bytes,
        way_out: "use fewer or smaller images",
    })
}
