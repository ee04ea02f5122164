//! Joins a network and its weights in separate files into one file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use zip::read::ZipArchive;

use super::spool::{Spool, Spooled};
use super::{ServiceError, faults, refuse};
use crate::onnx::external::{self, within_folder};
use crate::problem::Code;

/// Maximum number of entries in a zip, including folders and files of operating systems.
const MOST_ENTRIES: usize = 1000;

const WHAT: &str = "model";

/// Joins a network and the files with its weights, by name, into one file of at most `limit` bytes in `spool`.
pub(super) fn joined(files: Vec<(String, Spooled)>, spool: &Path, limit: u64) -> Result<Spooled, ServiceError> {
    let named = files.into_iter().filter_map(|(name, file)| Some((within_folder(&name)?, file)));
    let mut files: BTreeMap<PathBuf, Spooled> = named.collect();
    let is_network = |name: &&PathBuf| name.extension().is_some_and(|end| end.eq_ignore_ascii_case("onnx"));
    let networks: Vec<PathBuf> = files.keys().filter(is_network).cloned().collect();
    let [network] = networks.as_slice() else {
        let names: Vec<String> = files.keys().map(|name| name.display().to_string()).collect();
        let detail = format!(
            "of the files that were sent ({}), {} end in .onnx; send one network, and the files with its weights",
            names.join(", "),
            networks.len()
        );
        return refuse(Code::NotOnnx, detail);
    };
    let folder = network.parent().unwrap_or(Path::new("")).to_owned();
    let Some(file) = files.remove(network) else { return refuse(Code::NotOnnx, "the upload contains no network") };
    let bytes = std::fs::read(file.path())?;
    let mut open = |location: &Path| match files.get(&folder.join(location)) {
        Some(data) => File::open(data.path()).map_err(|error| error.to_string()),
        None => Err("no such file was sent with the network".to_owned()),
    };
    match external::in_one_piece(&bytes, &mut open).map_err(|error| faults::problem(&error.into()))? {
        None => Ok(file),
        Some(whole) => {
            let mut joined = Spool::begin(spool, limit, WHAT)?;
            joined.write(&whole)?;
            joined.finish()
        }
    }
}

/// True for a zip that PyTorch did not write.
pub(super) fn is_zip(body: &Spooled) -> Result<bool, ServiceError> {
    let mut head = Vec::new();
    File::open(body.path())?.take(4096).read_to_end(&mut head)?;
    Ok(external::is_zip(&head))
}

/// Joins the files of such a zip into one file.
pub(super) fn unpacked(body: &Spooled, spool: &Path, limit: u64) -> Result<Spooled, ServiceError> {
    joined(entries(body, spool, limit)?, spool, limit)
}

/// The files of a zip, one of which is a network.
fn entries(body: &Spooled, spool: &Path, limit: u64) -> Result<Vec<(String, Spooled)>, ServiceError> {
    let broken = |error: zip::result::ZipError| refuse(Code::NotOnnx, format!("the zip cannot be read: {error}"));
    let mut archive = match ZipArchive::new(File::open(body.path())?) {
        Ok(archive) => archive,
        Err(error) => return broken(error),
    };
    if archive.len() > MOST_ENTRIES {
        return refuse(
            Code::NotOnnx,
            format!("the zip has {} files, more than the limit of {MOST_ENTRIES}", archive.len()),
        );
    }
    if !archive.file_names().flatten().any(|name| name.to_ascii_lowercase().ends_with(".onnx")) {
        let detail = "this is a zip archive without an .onnx file; upload the file that torch.onnx.export wrote";
        return refuse(Code::NotOnnx, detail);
    }
    let (mut files, mut left) = (Vec::new(), limit);
    for index in 0..archive.len() {
        let mut entry = match archive.by_index(index) {
            Ok(entry) => entry,
            Err(error) => return broken(error),
        };
        let name = match entry.name() {
            Ok(name) => name.into_owned(),
            Err(error) => return broken(error),
        };
        let left_behind =
            name.starts_with("__MACOSX/") || name.split('/').any(|part| part.starts_with('.') && part != ".");
        if entry.is_dir() || left_behind || entry.size() == 0 {
            continue;
        }
        // The size in its header is not trusted.
        let file = spooled(&mut entry, &name, spool, left)?;
        left -= file.size;
        files.push((name, file));
    }
    Ok(files)
}

fn spooled(entry: &mut impl Read, name: &str, spool: &Path, left: u64) -> Result<Spooled, ServiceError> {
    let mut file = Spool::begin(spool, left, WHAT)?;
    let mut chunk = vec![0; 1 << 16];
    loop {
        let read = match entry.read(&mut chunk) {
            Ok(0) => return file.finish(),
            Ok(read) => read,
            Err(error) => return refuse(Code::NotOnnx, format!("{name} in the zip cannot be unpacked: {error}")),
        };
        file.write(&chunk[..read])?;
    }
}
