//! The measuring process: reads one request on stdin, runs the networks interleaved, writes one response on stdout. It runs
//! only the engine, and never outlives its parent.

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::time::Instant;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::getppid;

use super::clock::{Clocks, Elapsed};
use super::protocol::{Answer, Request};
use super::runner::{Failure, Runner};

/// `practised latency-child`. Exit code 0 with a response, which can report that a network failed; 1 without one.
pub fn run_child() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("latency-child: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> io::Result<()> {
    // From here on the kernel ends this process when its parent dies …
    set_pdeathsig(Signal::SIGKILL)?;
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let request: Request = serde_json::from_str(&text)?;
    // … and a parent that died before that line shows here.
    if getppid().as_raw() != request.parent as i32 {
        return Err(io::Error::other("the process that asked is gone"));
    }
    let answer = answer(&request);
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, &answer)?;
    out.write_all(b"\n")
}

fn answer(request: &Request) -> Answer {
    match measure(request) {
        Ok(answer) => answer,
        Err(Failure::Model { label, detail }) => Answer::ModelFailed { label, detail },
        Err(Failure::Engine(detail)) => Answer::EngineFailed { detail },
    }
}

fn measure(request: &Request) -> Result<Answer, Failure> {
    let engine_version = super::runner::version(request.place)?;
    let open = |model| Runner::open(request.place, model, request.seed);
    let mut runners = request.models.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    for runner in &mut runners {
        warm_up(runner, request)?;
    }
    let mut series = vec![Vec::new(); runners.len()];
    let (clocks, start) = (Clocks::for_threads(request.place.threads), Instant::now());
    for pair in 0..request.pairs {
        if pair >= request.min_pairs && start.elapsed().as_secs_f64() >= request.max_seconds {
            break;
        }
        // A B C, B C A, C A B …: other load on the host affects all networks alike, and so does the first position (with A
        // always first, two copies of one network differed by 2.5 %).
        for turn in 0..runners.len() {
            let index = (pair + turn) % runners.len();
            let (result, elapsed) = clocks.time(|| runners[index].run());
            result?;
            series[index].push(elapsed);
        }
    }
    let column = |of: fn(&Elapsed) -> u64| series.iter().map(|s| s.iter().map(of).collect()).collect();
    Ok(Answer::Measured { engine_version, wall_ns: column(|e| e.wall_ns), cpu_ns: column(|e| e.cpu_ns) })
}

fn warm_up(runner: &mut Runner, request: &Request) -> Result<(), Failure> {
    let start = Instant::now();
    runner.run()?;
    for _ in 1..request.warmup_runs {
        if start.elapsed().as_secs_f64() >= request.warmup_seconds {
            break;
        }
        runner.run()?;
    }
    Ok(())
}
