//! An upload in progress: a temporary file that is hashed while it is written, and deleted on drop. So an upload is never a
//! long transaction, and an interrupted one leaves nothing behind.

use std::io::Write;
use std::path::Path;

use sha2::{Digest, Sha256};
use tempfile::{NamedTempFile, TempPath};

use super::{ServiceError, refuse};
use crate::hash::hex;
use crate::problem::{Code, Problem};

/// A file that is being written.
#[derive(Debug)]
pub struct Spool {
    file: NamedTempFile,
    hash: Sha256,
    size: u64,
    limit: u64,
    what: &'static str,
}

/// A file that is complete.
#[derive(Debug)]
pub struct Spooled {
    /// Closed, because a form can have thousands.
    path: TempPath,
    /// Hash of its bytes, in hex.
    pub sha256: String,
    /// Size in bytes.
    pub size: u64,
}

impl Spool {
    /// Creates a file in `dir`; `what` names it in error messages.
    ///
    /// # Errors
    /// If the disk is full or the folder does not exist.
    pub fn begin(dir: &Path, limit: u64, what: &'static str) -> Result<Self, ServiceError> {
        let file = NamedTempFile::with_prefix_in("upload-", dir).map_err(disk)?;
        Ok(Self { file, hash: Sha256::new(), size: 0, limit, what })
    }

    /// Appends bytes. Short writes to a file's page cache: not worth a thread switch each.
    ///
    /// # Errors
    /// If it exceeds the limit, or the disk is full.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ServiceError> {
        self.size += bytes.len() as u64;
        if self.size > self.limit {
            return Err(too_large(self.what, self.limit).into());
        }
        self.hash.update(bytes);
        self.file.write_all(bytes).map_err(disk)
    }

    /// Completes the file.
    ///
    /// # Errors
    /// If nothing was written, or the disk is full.
    pub fn finish(mut self) -> Result<Spooled, ServiceError> {
        if self.size == 0 {
            return refuse(Code::EmptyBody, format!("the {} is empty; send the file's bytes", self.what));
        }
        self.file.flush().map_err(disk)?;
        Ok(Spooled { path: self.file.into_temp_path(), sha256: hex(&self.hash.finalize()), size: self.size })
    }
}

impl Spooled {
    /// Its path, which is valid until it is dropped.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The error for a body over its limit.
pub fn too_large(what: &str, limit: u64) -> Problem {
    let (number, unit) = match limit {
        limit if limit >= 1 << 30 && limit.is_multiple_of(1 << 30) => (limit >> 30, "GiB"),
        limit if limit >= 1 << 20 && limit.is_multiple_of(1 << 20) => (limit >> 20, "MiB"),
        limit => (limit, "bytes"),
    };
    Problem::new(Code::BodyTooLarge, format!("the {what} is over the limit of {number} {unit}"))
}

fn disk(error: std::io::Error) -> ServiceError {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            Problem::new(Code::DiskFull, "the disk for uploads is full").into()
        }
        _ => ServiceError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spool(dir: &Path, limit: u64) -> Spool {
        Spool::begin(dir, limit, "model").expect("begins")
    }

    #[test]
    fn an_upload_over_the_limit_is_refused_and_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut file = spool(dir.path(), 4);
        file.write(b"1234").expect("fits");
        let ServiceError::Refused(problem) = file.write(b"5").expect_err("too much") else { panic!("not a refusal") };
        assert_eq!(problem.status, 413);
        assert!(problem.detail.contains("4 bytes"), "{}", problem.detail);
        drop(file);
        assert_eq!(std::fs::read_dir(dir.path()).expect("reads").count(), 0);
    }

    #[test]
    fn a_complete_upload_knows_its_hash() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut file = spool(dir.path(), 100);
        file.write(b"ab").and_then(|()| file.write(b"c")).expect("fits");
        let spooled = file.finish().expect("complete");
        assert_eq!(spooled.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!((spooled.size, std::fs::read(spooled.path()).expect("reads")), (3, b"abc".to_vec()));
    }

    #[test]
    fn an_empty_upload_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let ServiceError::Refused(problem) = spool(dir.path(), 4).finish().expect_err("empty") else {
            panic!("not a refusal")
        };
        assert_eq!(problem.code, Code::EmptyBody);
    }
}
