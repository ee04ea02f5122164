//! Latency, measured by the real binary in its own process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use practised::latency::{Input, LatencyError, Model, Probe, Samples, Source, measure};
use practised::spec::latency::{Basis, Engine, LatencyConfig, Plan};

use practised::exec::Device;

use crate::support::networks::{Batch, TinyResNet};

fn probe() -> Probe {
    Probe::with(env!("CARGO_BIN_EXE_practised"), Device::Cpu)
}

/// A network of `blocks` blocks a stage, large enough that a run takes a good part of a millisecond.
fn network(blocks: usize) -> TinyResNet {
    TinyResNet { blocks, width: 16, pixels: 16, ..TinyResNet::default() }
}

fn model<'a>(label: &'a str, bytes: &'a [u8], batch: usize) -> Model<'a> {
    let inputs = vec![Input::seeded("input", vec![batch, 3, 16, 16])];
    Model { label, source: Source::Bytes(bytes), inputs }
}

fn quick() -> Plan {
    Plan { pairs: 30, max_seconds: 5.0, rounds: 2, warmup_seconds: 0.1, ..Plan::default() }
}

fn measured(engine: Engine, threads: usize) -> Samples {
    let (deep, shallow) = (network(8).bytes(), network(1).bytes());
    let config = LatencyConfig { engine, batch: 2, threads, ..LatencyConfig::default() };
    let models = [model("deep", &deep, 2), model("shallow", &shallow, 2)];
    measure(&probe(), &models, &config, &quick(), &|| false).expect("both networks run")
}

#[test]
fn a_network_of_fewer_blocks_is_found_faster_in_both_engines() {
    for engine in [Engine::OnnxRuntime, Engine::Torch] {
        let samples = measured(engine, 1);
        assert_eq!((samples.rounds.len(), samples.labels()), (2, vec!["deep", "shallow"]));
        assert!(!samples.engine_version.is_empty() && !samples.device.is_empty());
        let found = samples.reduction("deep", "shallow", 7).expect("enough pairs");
        assert!((6..=30).contains(&found.pairs), "{found:?}");
        // 4 of 18 convolutions are left; on a busy host a good part of that shows all the same.
        let cpu = found.cpu.expect("this clock ticks finely");
        assert!(found.value > 0.25 && cpu.value > 0.25, "{engine:?}: {found:?}");
        let deep = samples.timing("deep", Basis::Wall).expect("measured");
        assert!(deep.median_ms > 0.0 && deep.median_ms <= deep.p90_ms && deep.p90_ms <= deep.p99_ms, "{deep:?}");
    }
}

#[test]
fn cpu_time_of_several_threads_is_counted_together() {
    let samples = measured(Engine::OnnxRuntime, 2);
    let found = samples.reduction("deep", "shallow", 7).expect("enough pairs");
    assert_eq!(found.basis, Basis::Wall, "with threads, CPU time does not decide");
}

#[test]
fn the_network_that_does_not_run_is_named() {
    let good = network(1).bytes();
    let config = LatencyConfig::default();
    for (bad, inputs) in [(&b"not a network"[..], 3), (&good[..], 4)] {
        let mut broken = model("student", bad, 1);
        broken.inputs[0].dims[1] = inputs;
        for engine in [Engine::OnnxRuntime, Engine::Torch] {
            let config = LatencyConfig { engine, ..config };
            let models = [model("teacher", &good, 1), broken.clone()];
            let error = measure(&probe(), &models, &config, &quick(), &|| false).expect_err("the student does not run");
            assert!(matches!(&error, LatencyError::Model { label, .. } if label == "student"), "{error}");
        }
    }
}

/// A folder with `deep.onnx`, `shallow.onnx` and a host lock of its own.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("deep.onnx"), network(8).bytes()).expect("a file");
    fs::write(dir.path().join("shallow.onnx"), network(1).bytes()).expect("a file");
    fs::write(dir.path().join("fixed.onnx"), TinyResNet { batch: Batch::Fixed(1), ..network(1) }.bytes())
        .expect("a file");
    fs::write(dir.path().join("weights.pt"), b"\x80\x02}q\0.").expect("a file");
    dir
}

fn practised(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_practised"));
    // The host lock lives in the folder for temporary files: tests do not wait for each other.
    command.current_dir(folder).env("TMPDIR", folder);
    command
}

fn output(folder: &Path, args: &[&str]) -> Output {
    practised(folder).arg("latency").args(args).output().expect("the binary runs")
}

#[test]
fn the_command_line_compares_two_networks() {
    let dir = folder();
    let quick = ["--runs", "20", "--seconds", "3", "--batch", "2"];
    let done = output(dir.path(), &[&["deep.onnx", "shallow.onnx", "--json"], &quick[..]].concat());
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let json: serde_json::Value = serde_json::from_slice(&done.stdout).expect("JSON and nothing else on stdout");
    assert_eq!((&json["engine"], &json["batch"], &json["rounds"]), (&"onnxruntime".into(), &2.into(), &6.into()));
    assert_eq!(json["models"].as_array().map(Vec::len), Some(2));
    assert!(json["reduction"]["value"].as_f64().is_some_and(|value| value > 0.25), "{json}");
    assert!(json["reduction"]["low"].as_f64() < json["reduction"]["high"].as_f64(), "{json}");

    let done = output(dir.path(), &[&["shallow.onnx"], &quick[..]].concat());
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success() && text.contains("shallow.onnx") && text.contains("batch 2"), "{text}");
    assert!(!text.contains("reduction"), "there is nothing to compare with: {text}");
}

#[test]
fn what_the_caller_did_wrong_ends_with_2_and_the_way_out() {
    let dir = folder();
    let cases: [(&[&str], &str); 5] = [
        (&["none.onnx"], "none.onnx: cannot be read"),
        (&["weights.pt"], "torch.onnx.export"),
        (&["fixed.onnx", "--batch", "8"], "--batch 1"),
        (&["deep.onnx", "--size", "big"], "224x224"),
        (&["deep.onnx", "--engine", "abacus"], "onnxruntime"),
    ];
    for (args, part) in cases {
        let done = output(dir.path(), args);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(part), "{args:?}: {said}");
        assert!(done.stdout.is_empty());
    }
}

#[test]
fn a_missing_engine_is_our_failure_and_says_so() {
    let dir = folder();
    let done = practised(dir.path())
        .args(["latency", "shallow.onnx"])
        .env("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so")
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(said.contains("/nowhere/libonnxruntime.so"), "{said}");
}

#[test]
fn a_killed_parent_leaves_no_child() {
    let dir = folder();
    let (mut parent, child) = measure_for_long(dir.path());
    parent.kill().expect("the parent is killed");
    parent.wait().expect("and reaped");
    wait_for(|| (!Path::new(&format!("/proc/{child}")).exists()).then_some(())).expect("the child is gone");
    let left = fs::read_dir(dir.path()).expect("the folder").map(|file| file.expect("a file").file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with("practised-latency")).collect();
    assert!(left.is_empty(), "no temporary file either: {left:?}");
}

/// A command that measures for minutes, and its measuring process, which is past tying itself to its parent.
fn measure_for_long(folder: &Path) -> (Child, u32) {
    let parent = practised(folder)
        .args(["latency", "deep.onnx", "--runs", "100000", "--seconds", "600"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs");
    let child = wait_for(|| child_of(parent.id())).expect("the measuring process starts");
    wait_for(|| measuring(child).then_some(())).expect("it measures");
    (parent, child)
}

fn wait_for<T>(found: impl Fn() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        if let Some(found) = found() {
            return Some(found);
        }
        sleep(Duration::from_millis(20));
    }
    None
}

/// The child of a process, once it has become `latency-child`.
fn child_of(parent: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    let child = children.split_whitespace().next()?.parse().ok()?;
    let command = fs::read(format!("/proc/{child}/cmdline")).ok()?;
    command.windows(13).any(|part| part == b"latency-child").then_some(child)
}

/// True once the process has loaded ONNX Runtime, which it does after tying itself to its parent.
fn measuring(process: u32) -> bool {
    fs::read_to_string(format!("/proc/{process}/maps")).is_ok_and(|maps| maps.contains("libonnxruntime"))
}

#[test]
fn measuring_in_onnx_runtime_keeps_one_thread_busy_and_none_of_libtorch() {
    let dir = folder();
    let (mut parent, child) = measure_for_long(dir.path());
    sleep(Duration::from_millis(500));
    let ticks = cpu_ticks(child);
    parent.kill().expect("the parent is killed");
    parent.wait().expect("and reaped");
    // ONNX Runtime keeps a thread that sleeps; none beside the first may compute.
    let busy = ticks.iter().filter(|ticks| **ticks > 1).count();
    assert_eq!(busy, 1, "CPU time by thread, in hundredths of a second: {ticks:?}");
}

/// User and system time of each thread of a process (fields 14 and 15 of its stat).
fn cpu_ticks(process: u32) -> Vec<u64> {
    let tasks = fs::read_dir(PathBuf::from(format!("/proc/{process}/task"))).expect("it still runs");
    let ticks = |stat: String| -> u64 {
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
    };
    tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("stat")).ok()).map(ticks).collect()
}

/// Copies of the binary with other company: no helper, and one of another version. Both measure, by themselves.
#[test]
fn a_binary_without_its_helper_measures_by_itself() {
    let dir = folder();
    let copy = dir.path().join("practised");
    fs::copy(env!("CARGO_BIN_EXE_practised"), &copy).expect("copied");
    let measured = || {
        let mut command = Command::new(&copy);
        command.current_dir(dir.path()).env("TMPDIR", dir.path());
        command.args(["latency", "deep.onnx", "--runs", "6", "--rounds", "3", "--json"]);
        let done = command.output().expect("the binary runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        serde_json::from_slice::<serde_json::Value>(&done.stdout).expect("JSON")["rounds"].clone()
    };
    assert_eq!(measured(), 3);
    let helper = dir.path().join("practised-helper");
    fs::write(&helper, "#!/bin/sh\necho practised-helper 0.0.0\n").expect("written");
    fs::set_permissions(&helper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("set");
    assert_eq!(measured(), 3);
}

#[test]
fn the_measuring_process_has_no_libtorch_where_the_helper_is() {
    let dir = folder();
    let (mut parent, child) = measure_for_long(dir.path());
    let maps = fs::read_to_string(format!("/proc/{child}/maps")).expect("its libraries");
    assert!(!maps.contains("libtorch"), "{maps}");
    parent.kill().expect("the parent is killed");
    parent.wait().expect("and reaped");
}
