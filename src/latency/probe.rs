//! The parent's side: starts a measuring process for each round and brings its samples home.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::error::LatencyError;
use super::protocol::{Answer, Input, ModelFile, Place, Request};
use super::samples::{Round, Samples, Series};
use crate::children;
use crate::exec::{Device, compute_as_by_default};
use crate::spec::latency::{Engine, LatencyConfig, Plan};

/// How a measuring process is started: `program latency-child`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The program that measures in ONNX Runtime, on the processor.
    onnxruntime: PathBuf,
    /// The program that measures in torch.
    torch: PathBuf,
    /// Where torch computes.
    device: Device,
}

/// A network to measure. The first one of a list is what the others are compared with.
#[derive(Debug, Clone)]
pub struct Model<'a> {
    /// What its samples are called; unique in the list.
    pub label: &'a str,
    /// The ONNX file.
    pub source: Source<'a>,
    /// Its inputs at the batch to be measured.
    pub inputs: Vec<Input>,
}

/// Location of an ONNX file.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// In memory.
    Bytes(&'a [u8]),
    /// On disk.
    Path(&'a Path),
}

impl Probe {
    /// This very binary, with torch on `device`; for ONNX Runtime one that has no libtorch to load.
    ///
    /// # Errors
    /// [`LatencyError::Io`] if the system does not report its path.
    pub fn current(device: Device) -> Result<Self, LatencyError> {
        let program = std::env::current_exe().map_err(|e| LatencyError::io("path of the running program", e))?;
        Ok(Self { onnxruntime: children::light_program().to_owned(), torch: program, device })
    }

    /// One program for both engines.
    pub fn with(program: impl Into<PathBuf>, device: Device) -> Self {
        let program = program.into();
        Self { onnxruntime: program.clone(), torch: program, device }
    }

    fn program(&self, engine: Engine) -> &Path {
        match engine {
            Engine::OnnxRuntime => &self.onnxruntime,
            Engine::Torch => &self.torch,
        }
    }

    fn place(&self, config: &LatencyConfig) -> Place {
        let device = if config.engine == Engine::Torch { self.device } else { Device::Cpu };
        Place { engine: config.engine, threads: config.threads, device }
    }
}

/// Measures networks interleaved, in `plan.rounds` processes one after the other. `cancelled` is asked some twenty times
/// a second; then, or when this thread dies, the process is killed. The caller holds [`super::HostLock`].
///
/// # Errors
/// [`LatencyError::Model`] names the network that the engine does not take; see there for the others.
pub fn measure(
    probe: &Probe,
    models: &[Model],
    config: &LatencyConfig,
    plan: &Plan,
    cancelled: &dyn Fn() -> bool,
) -> Result<Samples, LatencyError> {
    check(models, config, plan)?;
    let stored = Stored::new(models)?;
    let groups = groups(&stored.models, plan.resident_bytes)?;
    let place = probe.place(config);
    let mut samples = Samples {
        engine: config.engine,
        engine_version: String::new(),
        device: place.device.name().unwrap_or_else(|| processor(place.device)),
        computed_on: place.device,
        batch: config.batch,
        threads: config.threads,
        rounds: Vec::new(),
    };
    for round in 0..plan.rounds {
        for group in &groups {
            let mut request = request(group, place, plan, groups.len());
            if round % 2 == 1 {
                // The position of a network in memory matters too: the one loaded last was faster by 1.5 %.
                request.models.reverse();
            }
            let (version, round) = run_round(probe, &request, plan, cancelled)?;
            samples.engine_version = version;
            samples.rounds.push(round);
        }
    }
    Ok(samples)
}

fn check(models: &[Model], config: &LatencyConfig, plan: &Plan) -> Result<(), LatencyError> {
    let fault = |text: &str| Err(LatencyError::Request(text.to_owned()));
    if models.is_empty() {
        return fault("there is no network to measure");
    }
    if models.iter().enumerate().any(|(i, model)| models[..i].iter().any(|other| other.label == model.label)) {
        return fault("two networks to measure have the same label");
    }
    if config.batch == 0 || config.threads == 0 {
        return fault("batch and threads must be at least 1");
    }
    if plan.rounds == 0 || plan.pairs == 0 {
        return fault("at least one round and one pair must be measured");
    }
    Ok(())
}

/// The networks with paths that the child can open. Those in memory are written to files without a name, which the
/// child reaches through this process: however it ends, nothing stays behind.
struct Stored {
    models: Vec<ModelFile>,
    _files: Vec<File>,
}

impl Stored {
    fn new(models: &[Model]) -> Result<Self, LatencyError> {
        let mut stored = Self { models: Vec::new(), _files: Vec::new() };
        for model in models {
            let path = match model.source {
                Source::Path(path) => path.to_owned(),
                Source::Bytes(bytes) => stored.keep(bytes)?,
            };
            stored.models.push(ModelFile { label: model.label.to_owned(), path, inputs: model.inputs.clone() });
        }
        Ok(stored)
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<PathBuf, LatencyError> {
        let mut file = temporary()?;
        file.write_all(bytes).map_err(|e| LatencyError::io("writing a temporary file", e))?;
        let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        self._files.push(file);
        Ok(path.into())
    }
}

/// A file without a name, gone with its last holder.
fn temporary() -> Result<File, LatencyError> {
    tempfile::tempfile().map_err(|e| LatencyError::io("making a temporary file", e))
}

/// Splits the networks so that no process holds more than `resident` bytes of files (twice that in memory), the first
/// network in every group.
fn groups(models: &[ModelFile], resident: u64) -> Result<Vec<Vec<ModelFile>>, LatencyError> {
    let size = |model: &ModelFile| {
        let meta = fs::metadata(&model.path);
        meta.map(|m| m.len()).map_err(|e| LatencyError::io(format!("reading {}", model.path.display()), e))
    };
    let (first, others) = models.split_first().expect("checked: not empty");
    let (start, mut groups) = (size(first)?, vec![vec![first.clone()]]);
    let mut held = start;
    for model in others {
        let bytes = size(model)?;
        if held + bytes > resident && groups.last().is_some_and(|group| group.len() > 1) {
            groups.push(vec![first.clone()]);
            held = start;
        }
        held += bytes;
        groups.last_mut().expect("there is one").push(model.clone());
    }
    Ok(groups)
}

fn request(models: &[ModelFile], place: Place, plan: &Plan, groups: usize) -> Request {
    let pairs = plan.pairs.div_ceil(plan.rounds);
    Request {
        parent: std::process::id(),
        place,
        warmup_runs: plan.warmup_runs,
        warmup_seconds: plan.warmup_seconds,
        pairs,
        min_pairs: plan.min_pairs.min(pairs),
        max_seconds: plan.max_seconds / (plan.rounds * groups) as f64,
        seed: plan.seed,
        models: models.to_vec(),
    }
}

fn run_round(
    probe: &Probe,
    request: &Request,
    plan: &Plan,
    cancelled: &dyn Fn() -> bool,
) -> Result<(String, Round), LatencyError> {
    let engine = request.place.engine.name();
    match Running::start(probe, request)?.answer(plan.timeout_seconds, cancelled)? {
        Answer::Measured { engine_version, wall_ns, cpu_ns } => {
            let times = wall_ns.into_iter().zip(cpu_ns);
            let named = request.models.iter().zip(times);
            let series = named.map(|(m, (wall_ns, cpu_ns))| Series { label: m.label.clone(), wall_ns, cpu_ns });
            Ok((engine_version, Round { series: series.collect() }))
        }
        Answer::ModelFailed { label, detail } => Err(LatencyError::Model { label, engine, detail }),
        Answer::EngineFailed { detail } => Err(LatencyError::Engine { engine, detail }),
    }
}

/// A measuring process. Its three streams are files, so that neither side ever waits for the other to read.
struct Running {
    child: Child,
    stdout: File,
    stderr: File,
}

const POLL: Duration = Duration::from_millis(50);

impl Running {
    fn start(probe: &Probe, request: &Request) -> Result<Self, LatencyError> {
        let (mut stdin, stdout, stderr) = (temporary()?, temporary()?, temporary()?);
        let asked = serde_json::to_writer(&mut stdin, request).map_err(io::Error::from);
        asked.and_then(|()| stdin.rewind()).map_err(|e| LatencyError::io("writing a temporary file", e))?;
        let copy = |file: &File| file.try_clone().map(Stdio::from).map_err(|e| LatencyError::io("copying a file", e));
        let program = probe.program(request.place.engine);
        let mut command = Command::new(program);
        compute_as_by_default(&mut command);
        command.arg("latency-child").stdin(stdin).stdout(copy(&stdout)?).stderr(copy(&stderr)?);
        match command.spawn() {
            Ok(child) => Ok(Self { child, stdout, stderr }),
            Err(source) => Err(LatencyError::Start { program: program.to_owned(), source }),
        }
    }

    fn answer(mut self, timeout: f64, cancelled: &dyn Fn() -> bool) -> Result<Answer, LatencyError> {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().map_err(|e| LatencyError::io("waiting for the child", e))? {
                break status;
            }
            if cancelled() {
                return Err(LatencyError::Cancelled);
            }
            if start.elapsed().as_secs_f64() > timeout {
                return Err(LatencyError::Timeout { seconds: timeout });
            }
            sleep(POLL);
        };
        let said = read_all(&mut self.stdout);
        // A library might print a line of its own; the answer is the last one.
        let last = said.lines().last().unwrap_or_default();
        serde_json::from_str(last).map_err(|_| self.died(status))
    }

    fn died(&mut self, status: ExitStatus) -> LatencyError {
        let text = read_all(&mut self.stderr);
        let lines: Vec<&str> = text.trim().lines().collect();
        let tail = lines[lines.len().saturating_sub(3)..].join("; ");
        let said = if tail.is_empty() { tail } else { format!(": {tail}") };
        LatencyError::Died { status: status.to_string(), said }
    }
}

impl Drop for Running {
    /// Kills the process if it still runs, and reaps it, so that no process is left behind.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The stream is shared with the child, its position too; whatever is no text is replaced.
fn read_all(file: &mut File) -> String {
    let mut bytes = Vec::new();
    let _ = file.rewind().and_then(|()| file.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The processor's name, as Linux gives it; a GPU that its driver does not name has its number.
fn processor(device: Device) -> String {
    if device != Device::Cpu {
        return device.to_string();
    }
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

#[cfg(test)]
#[path = "probe_tests.rs"]
mod tests;
