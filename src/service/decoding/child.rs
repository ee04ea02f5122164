//! The decoder: a process that opens one image set and ends. The effects of a hostile file stay in it, and the kernel limits
//! its memory and CPU time.

use std::io::{self, BufRead, Read, Write};
use std::process::ExitCode;

use nix::sys::resource::{Resource, setrlimit};

use super::protocol::{Answer, Found, Request};
use crate::images::{ImageError, ImageSet};

/// Maximum bytes of a response: 20,000 names of 512 bytes, and as many reasons.
const ANSWER: u64 = 64 << 20;

/// `practised decode-child`: reads a request on stdin and writes a response on stdout. Exit code 0 with a response, also if it
/// is an error.
pub fn run_child() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("decode-child: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> io::Result<()> {
    let mut stdin = io::stdin().lock();
    let mut line = String::new();
    stdin.read_line(&mut line)?;
    let request: Request = serde_json::from_str(&line)?;
    confine(&request)?;
    let mut labels = Vec::new();
    stdin.read_to_end(&mut labels)?;
    let answer = answer(&request, &labels);
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, &answer)?;
    out.write_all(b"\n")
}

/// Before the first byte of the upload is read.
fn confine(request: &Request) -> io::Result<()> {
    let limit = |what, most| setrlimit(what, most, most).map_err(io::Error::from);
    limit(Resource::RLIMIT_AS, mapped()? + request.memory_bytes)?;
    // The signal of the soft limit identifies the limit; the hard one sends a plain SIGKILL.
    setrlimit(Resource::RLIMIT_CPU, request.cpu_seconds, request.cpu_seconds + 1)?;
    limit(Resource::RLIMIT_FSIZE, ANSWER)?;
    limit(Resource::RLIMIT_CORE, 0)?;
    // If the host runs out of memory, the kernel kills this process first.
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", "1000") {
        eprintln!("decode-child: the score for the kernel stays: {error}");
    }
    Ok(())
}

/// Bytes of address space of this program, mostly libraries that it does not use here.
fn mapped() -> io::Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split_whitespace().next().and_then(|pages| pages.parse::<u64>().ok());
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)?.unwrap_or(4096);
    pages.map(|pages| pages * page.cast_unsigned()).ok_or_else(|| io::Error::other("/proc/self/statm has no numbers"))
}

fn answer(request: &Request, labels: &[u8]) -> Answer {
    let set = ImageSet::from_zip(&request.archive, &request.limits);
    match set.and_then(|set| if request.has_labels { set.with_labels(labels) } else { Ok(set) }) {
        Ok(set) => Answer::Found(Found::of(&set)),
        Err(error) => refusal(error),
    }
}

fn refusal(error: ImageError) -> Answer {
    if error.is_input() { Answer::Refused(error.problem()) } else { Answer::Failed(error.to_string()) }
}
