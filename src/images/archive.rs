//! Files out of a zip, of which nothing is trusted: not its sizes, not its names, not its structure.

use std::collections::BTreeSet;
use std::io::{Read, Seek};

use zip::CompressionMethod;
use zip::read::ZipArchive;
use zip::result::ZipError;

use super::error::ImageError;
use super::image::Refused;
use super::limits::Limits;

/// The files of an archive or folder, in any order, still encoded.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Name (`/` between folders) and bytes.
    pub files: Vec<(String, Vec<u8>)>,
    /// Entries that could not be taken.
    pub refused: Vec<Refused>,
    /// The labels file, if there is one.
    pub labels: Option<Vec<u8>>,
    /// Bytes that were sent: the archive's, or those of all files.
    pub sent: u64,
}

impl Contents {
    /// Sorts a file: labels separately, files of operating systems ignored.
    pub fn take(&mut self, name: String, bytes: Vec<u8>) -> Result<(), ImageError> {
        if !is_labels(&name) {
            self.files.push((name, bytes));
            return Ok(());
        }
        match self.labels.replace(bytes) {
            None => Ok(()),
            Some(_) => Err(ImageError::Labels(format!("there is more than one {LABELS}"))),
        }
    }

    pub fn refuse(&mut self, name: String, reason: impl Into<String>) {
        self.refused.push(Refused { name, reason: reason.into() });
    }
}

/// The name, in capitals or not, under which a labels file may stand among the images.
const LABELS: &str = "labels.csv";

pub(super) fn is_labels(name: &str) -> bool {
    base_name(name).eq_ignore_ascii_case(LABELS)
}

/// Reads every file of a zip of `sent` bytes into memory, within `limits`.
pub(super) fn read<R: Read + Seek>(mut reader: R, sent: u64, limits: &Limits) -> Result<Contents, ImageError> {
    check_directory(&mut reader, limits).map_err(|error| not_a_zip(error.into()))??;
    let mut archive = ZipArchive::new(reader).map_err(not_a_zip)?;
    check_structure(&mut archive, limits)?;
    let entries = (0..archive.len()).map(|index| inspect(&archive, index, limits)).collect::<Result<Vec<_>, _>>()?;
    check_total(&entries, sent, limits)?;
    let mut contents = Contents { sent, ..Contents::default() };
    for (index, entry) in entries.into_iter().enumerate() {
        let Some(entry) = entry else { continue };
        if let Some(reason) = entry.refusal {
            contents.refuse(entry.name, reason);
            continue;
        }
        match unpack(&mut archive, index, entry.size) {
            Ok(bytes) => contents.take(entry.name, bytes)?,
            Err(reason) => contents.refuse(entry.name, reason),
        }
    }
    Ok(contents)
}

/// Counts the apparent entries of the directory before the directory is read, which takes many times its bytes in memory. An
/// archive within the archive can add some.
fn check_directory<R: Read + Seek>(reader: &mut R, limits: &Limits) -> std::io::Result<Result<(), ImageError>> {
    const ENTRY: &[u8] = b"PK\x01\x02";
    let most = limits.entries.saturating_mul(4);
    let (mut chunk, mut kept, mut found) = (vec![0; 1 << 16], 0, 0);
    loop {
        let read = reader.read(&mut chunk[kept..])?;
        if read == 0 {
            break;
        }
        let filled = kept + read;
        found += chunk[..filled].windows(ENTRY.len()).filter(|bytes| *bytes == ENTRY).count();
        // The next chunk may begin within one.
        kept = filled.min(ENTRY.len() - 1);
        chunk.copy_within(filled - kept..filled, 0);
    }
    reader.rewind()?;
    Ok(if found > most { Err(too_many_entries(found, limits)) } else { Ok(()) })
}

/// Checks the totals in the archive's directory before any entry is unpacked.
fn check_structure<R: Read + Seek>(archive: &mut ZipArchive<R>, limits: &Limits) -> Result<(), ImageError> {
    if archive.len() > limits.entries {
        return Err(too_many_entries(archive.len(), limits));
    }
    if archive.has_duplicate_names() {
        return Err(ImageError::DuplicateName("(in the zip's directory)".to_owned()));
    }
    if archive.has_overlapping_entries().map_err(not_a_zip)? {
        return Err(ImageError::Bomb("entries share the same packed bytes".to_owned()));
    }
    let mut names = BTreeSet::new();
    for index in 0..archive.len() {
        let name = entry_name(archive, index)?;
        // A name may also be spelt twice after decoding, once as UTF-8 and once as code page 437.
        if !names.insert(name.clone()) {
            return Err(ImageError::DuplicateName(name));
        }
    }
    Ok(())
}

fn too_many_entries(found: usize, limits: &Limits) -> ImageError {
    ImageError::TooLarge {
        what: "entries in the archive:".to_owned(),
        found: found as u64,
        limit: limits.entries as u64,
        way_out: "send fewer images: a few hundred are enough",
    }
}

struct Entry {
    name: String,
    /// Bytes that it unpacks to, according to the directory.
    size: u64,
    /// Why this entry cannot be taken, if it cannot.
    refusal: Option<String>,
}

/// Checks one entry by the directory alone; `None` if it is ignored.
fn inspect<R: Read + Seek>(
    archive: &ZipArchive<R>,
    index: usize,
    limits: &Limits,
) -> Result<Option<Entry>, ImageError> {
    let name = entry_name(archive, index)?;
    let entry = archive.by_index_data(index).map_err(not_a_zip)?;
    if let Some(fault) = unsafe_name(&name) {
        return Err(ImageError::UnsafeEntry { name: shortened(&name), fault });
    }
    if entry.is_symlink() {
        return Err(ImageError::UnsafeEntry { name: shortened(&name), fault: "is a symbolic link" });
    }
    if entry.is_dir() || is_clutter(&name) {
        return Ok(None);
    }
    let size = entry.size();
    let limit = if is_labels(&name) { limits.labels_bytes } else { limits.entry_bytes };
    let refusal = if entry.encrypted() {
        Some("the entry is encrypted; pack it without a password".to_owned())
    } else if let Some(method) = unread(entry.compression()) {
        Some(format!("its compression method {method} is not supported; pack it with Deflate, as any zip program can"))
    } else if size > limit {
        Some(format!("{size} bytes are more than the limit of {limit}; send a smaller file"))
    } else {
        odd_name(&name)
    };
    let name = if refusal.is_some() { shortened(&name) } else { name };
    Ok(Some(Entry { name, size, refusal }))
}

/// The name of a compression method that is not read (APPNOTE.TXT, section 4.4.5); `None` for one that is.
fn unread(method: CompressionMethod) -> Option<String> {
    #[allow(deprecated)] // The constants cannot be matched with the number of a method that has no name.
    let CompressionMethod::Unsupported(number) = method else { return None };
    Some(match number {
        1 => "Shrink".to_owned(),
        2..=5 => "Reduce".to_owned(),
        6 | 10 => "Implode".to_owned(),
        20 | 93 => "Zstandard".to_owned(),
        96 => "JPEG recompression".to_owned(),
        97 => "WavPack".to_owned(),
        98 => "PPMd".to_owned(),
        99 => "AES encryption".to_owned(),
        other => format!("compression method {other}"),
    })
}

/// Checked before any entry is unpacked: no entry is unpacked beyond its declared size.
fn check_total(entries: &[Option<Entry>], sent: u64, limits: &Limits) -> Result<(), ImageError> {
    let taken = entries.iter().flatten().filter(|entry| entry.refusal.is_none());
    let total = taken.map(|entry| entry.size).sum::<u64>();
    if total <= limits.unpacked(sent) {
        return Ok(());
    }
    if total > limits.total_bytes {
        return Err(ImageError::TooLarge {
            what: "bytes of all files, unpacked:".to_owned(),
            found: total,
            limit: limits.total_bytes,
            way_out: "send fewer or smaller images",
        });
    }
    Err(ImageError::Bomb(format!(
        "its {sent} bytes unpack to {total}, more than the limit of {} for this size",
        limits.unpacked(sent)
    )))
}

/// Unpacks one entry of this size. The error refuses the entry.
fn unpack<R: Read + Seek>(archive: &mut ZipArchive<R>, index: usize, size: u64) -> Result<Vec<u8>, String> {
    let file = archive.by_index(index).map_err(|error| format!("its entry is broken: {error}"))?;
    let mut bytes = Vec::new();
    // One byte more than declared, to detect a wrong size.
    file.take(size + 1).read_to_end(&mut bytes).map_err(|error| format!("its data is broken: {error}"))?;
    if bytes.len() as u64 != size {
        return Err(
            "its data is broken: its unpacked size differs from the archive's directory; pack it again".to_owned()
        );
    }
    Ok(bytes)
}

fn entry_name<R: Read + Seek>(archive: &ZipArchive<R>, index: usize) -> Result<String, ImageError> {
    let entry = archive.by_index_data(index).map_err(not_a_zip)?;
    let name = entry.name().map(|name| name.into_owned());
    Ok(name.unwrap_or_else(|_| String::from_utf8_lossy(entry.name_raw()).into_owned()))
}

/// Nothing is ever written under an entry's name, but such a name is malicious, and a report that
/// repeats it could do harm elsewhere.
fn unsafe_name(name: &str) -> Option<&'static str> {
    let drive = name.as_bytes().get(1) == Some(&b':') && name.as_bytes()[0].is_ascii_alphabetic();
    if name.starts_with(['/', '\\']) || drive {
        Some("has an absolute path")
    } else if name.split(['/', '\\']).any(|part| part == "..") {
        Some("has a path with ..")
    } else if name.contains('\0') {
        Some("has a zero byte in its name")
    } else {
        None
    }
}

/// Names that are safe but of no use in a report.
pub(super) fn odd_name(name: &str) -> Option<String> {
    if name.chars().any(char::is_control) {
        Some("its name contains control characters; rename it".to_owned())
    } else if name.len() > 512 {
        Some("its name is longer than 512 bytes; rename it".to_owned())
    } else {
        None
    }
}

/// Files that macOS, Windows and editors leave next to images.
pub(super) fn is_clutter(name: &str) -> bool {
    let base = base_name(name);
    name.split('/').any(|part| part == "__MACOSX") || base.starts_with('.') || base == "Thumbs.db"
}

pub(super) fn base_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// A name for a message: printable and not endless.
pub(super) fn shortened(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).take(120).collect()
}

fn not_a_zip(error: ZipError) -> ImageError {
    ImageError::NotAZip(error.to_string())
}
