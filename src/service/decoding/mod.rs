//! Decoding of uploads, isolated from other tenants: each image set is decoded in a separate process ([`child`]), with time and
//! memory limits that depend on the bytes sent, and each kind of upload has its own places, which tenants share ([`turns`]).

mod child;
mod protocol;
mod turns;

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

pub use child::run_child;
pub use protocol::{Found, FoundImage, FoundRefusal};
pub use turns::{Turn, Turns};

use super::{ServiceError, refuse};
use crate::children::{self, Child};
use crate::images::Limits;
use crate::problem::{Code, Problem};
use protocol::{Answer, Request};

/// Maximum number of image sets decoded at once, each by one thread, in total and per tenant.
const IMAGE_SETS: (usize, usize) = (4, 2);

/// Maximum number of models analysed at once, in this process: a normal network takes little more memory than its file, a
/// malicious one about twenty times as much.
const MODELS: (usize, usize) = (2, 1);

/// Maximum time that an upload waits for its turn.
const PATIENCE: Duration = Duration::from_secs(60);

/// CPU seconds for any set. The minimum number of pixels takes a few.
const LEAST_SECONDS: u64 = 20;

/// Bytes of an archive per additional CPU second; photographs are decoded several times as fast.
const BYTES_PER_SECOND: u64 = 4 << 20;

/// Bytes of memory in addition to the unpacked files: one image of the largest size in 16 bits with alpha, and its rotated
/// copy.
const WORKING_MEMORY: u64 = 1 << 30;

/// The places of both kinds of uploads.
#[derive(Debug)]
pub struct Decoders {
    /// Image sets.
    pub image_sets: Turns,
    /// Models.
    pub models: Turns,
}

impl Default for Decoders {
    fn default() -> Self {
        let of = |(places, of_one)| Turns::new(places, of_one, PATIENCE);
        Self { image_sets: of(IMAGE_SETS), models: of(MODELS) }
    }
}

/// The contents of a zip of `size` bytes, from a decoder in a separate process, which is killed if this future is dropped.
///
/// # Errors
/// Errors of the set, as a refusal; else as [`ServiceError`].
pub async fn look_into(
    spool: &Path,
    archive: &Path,
    size: u64,
    labels: Option<&[u8]>,
    limits: &Limits,
) -> Result<Found, ServiceError> {
    let request = Request {
        archive: archive.to_owned(),
        has_labels: labels.is_some(),
        limits: limits.clone(),
        cpu_seconds: LEAST_SECONDS + size / BYTES_PER_SECOND,
        memory_bytes: limits.unpacked(size) + WORKING_MEMORY,
    };
    let mut decoder = Decoder::start(spool, &request, labels.unwrap_or_default()).await?;
    // On a busy machine, a process gets only a part of the CPU time.
    let patience = Duration::from_secs(3 * request.cpu_seconds);
    let Ok(status) = tokio::time::timeout(patience, decoder.child.wait()).await else {
        return refuse(Code::ImagesTooCostly, too_long(patience.as_secs()));
    };
    // A response can have megabytes.
    tokio::task::spawn_blocking(move || decoder.found(status, &request)).await?
}

/// A running decoder. Its three streams are unnamed files, so that neither side waits for the other to read.
struct Decoder {
    child: Child,
    stdout: File,
    stderr: File,
}

impl Decoder {
    async fn start(spool: &Path, request: &Request, labels: &[u8]) -> io::Result<Self> {
        let file = || tempfile::tempfile_in(spool);
        let (mut stdin, stdout, stderr) = (file()?, file()?, file()?);
        serde_json::to_writer(&mut stdin, request)?;
        stdin.write_all(b"\n")?;
        stdin.write_all(labels)?;
        stdin.rewind()?;
        let mut command = Command::new(children::light_program());
        command.arg0("practised").arg("decode-child").current_dir(spool);
        command.stdin(stdin).stdout(Stdio::from(stdout.try_clone()?)).stderr(Stdio::from(stderr.try_clone()?));
        // A decoder that a hostile file takes over must not find a password in its environment.
        command.env_clear().envs(std::env::var_os("LD_LIBRARY_PATH").map(|path| ("LD_LIBRARY_PATH", path)));
        Ok(Self { child: children::spawn(command, Signal::SIGKILL).await?, stdout, stderr })
    }

    /// Its result, after it has ended.
    fn found(&mut self, status: Option<ExitStatus>, request: &Request) -> Result<Found, ServiceError> {
        match self.answer() {
            Some(Answer::Found(found)) if found.is_plausible(&request.limits) => Ok(found),
            Some(Answer::Refused(problem)) => Err(retold(problem).into()),
            Some(Answer::Failed(reason)) => Err(io::Error::other(reason).into()),
            Some(Answer::Found(_)) => Err(io::Error::other("the decoder says what cannot be").into()),
            None => Err(self.died(status, request)),
        }
    }

    /// The last line: a library might print other lines.
    fn answer(&mut self) -> Option<Answer> {
        serde_json::from_str(read_all(&mut self.stdout).lines().last()?).ok()
    }

    /// The reason for a missing response: a limit that the upload exceeded, or an internal failure.
    fn died(&mut self, status: Option<ExitStatus>, request: &Request) -> ServiceError {
        let said = read_all(&mut self.stderr);
        let said = said.trim().lines().last().unwrap_or_default();
        tracing::warn!("a decoder ended without an answer: {status:?}: {said}");
        let signal = status.and_then(|status| status.signal()).and_then(|signal| Signal::try_from(signal).ok());
        let detail = match signal {
            // The kernel sends SIGXCPU after the CPU seconds, and SIGKILL if the host runs out of memory.
            Some(Signal::SIGXCPU) => too_long(request.cpu_seconds),
            Some(Signal::SIGABRT | Signal::SIGKILL) => format!(
                "decoding the images needs more than {} MiB of memory; send smaller images, or fewer",
                request.memory_bytes >> 20
            ),
            Some(signal) => format!("a decoder failed on the images ({signal}); save them again as plain JPEG or PNG"),
            None => return io::Error::other(format!("the decoder ended with {status:?}: {said}")).into(),
        };
        Problem::new(Code::ImagesTooCostly, detail).into()
    }
}

impl Drop for Decoder {
    /// The caller may be gone: then the decoder is stopped.
    fn drop(&mut self) {
        if self.child.exited().is_none() {
            self.child.kill_group();
        }
    }
}

fn too_long(seconds: u64) -> String {
    format!(
        "decoding the images takes longer than {seconds} s, the limit for an upload of this size; send smaller images, or fewer"
    )
}

/// A refusal with the decoder's text and this process's code.
fn retold(said: Problem) -> Problem {
    let code = if said.code.status() < 500 { said.code } else { Code::NoUsableImage };
    Problem::new(code, said.detail.chars().take(4000).collect::<String>()).with_errors(said.errors)
}

/// The contents of a stream of the child; invalid UTF-8 is replaced.
fn read_all(file: &mut File) -> String {
    let mut bytes = Vec::new();
    let _ = file.rewind().and_then(|()| file.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}
