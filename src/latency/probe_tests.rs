//! The parent's side against programs that behave badly.

use super::*;

use std::os::unix::fs::PermissionsExt;

fn file(folder: &Path, label: &str, bytes: usize) -> ModelFile {
    let path = folder.join(label);
    fs::write(&path, vec![0; bytes]).expect("a file");
    ModelFile { label: label.to_owned(), path, inputs: Vec::new() }
}

#[test]
fn more_networks_than_memory_holds_are_measured_in_groups_beside_the_first() {
    let dir = tempfile::tempdir().expect("a folder");
    let models: Vec<_> = ["t", "a", "b", "c", "d"].iter().map(|label| file(dir.path(), label, 100)).collect();
    let labels = |resident| -> Vec<String> {
        let groups = groups(&models, resident).expect("files are there");
        groups.iter().map(|g| g.iter().map(|m| m.label.as_str()).collect()).collect()
    };
    assert_eq!(labels(1000), ["tabcd"]);
    assert_eq!(labels(300), ["tab", "tcd"]);
    assert_eq!(labels(1), ["ta", "tb", "tc", "td"], "one at a time however large it is");
}

#[test]
fn time_and_pairs_are_shared_between_rounds_and_groups() {
    let place = Place { engine: Engine::OnnxRuntime, threads: 1, device: Device::Cpu };
    let plan = Plan { pairs: 60, rounds: 3, max_seconds: 12.0, min_pairs: 30, ..Plan::default() };
    let request = request(&[], place, &plan, 2);
    assert_eq!((request.pairs, request.min_pairs, request.max_seconds), (20, 20, 2.0));
}

#[test]
fn a_request_that_makes_no_sense_is_refused_before_anything_starts() {
    let probe = Probe::with("/nowhere", Device::Cpu);
    let model = || Model { label: "a", source: Source::Bytes(b""), inputs: Vec::new() };
    let run = |models: &[Model], config: LatencyConfig, plan: Plan| {
        measure(&probe, models, &config, &plan, &|| false).expect_err("no sense")
    };
    assert!(matches!(run(&[], LatencyConfig::default(), Plan::default()), LatencyError::Request(_)));
    assert!(matches!(run(&[model(), model()], LatencyConfig::default(), Plan::default()), LatencyError::Request(_)));
    let none = LatencyConfig { batch: 0, ..LatencyConfig::default() };
    assert!(matches!(run(&[model()], none, Plan::default()), LatencyError::Request(_)));
    let none = Plan { rounds: 0, ..Plan::default() };
    assert!(matches!(run(&[model()], LatencyConfig::default(), none), LatencyError::Request(_)));
    assert!(matches!(run(&[model()], LatencyConfig::default(), Plan::default()), LatencyError::Start { .. }));
}

/// A "measuring process" made of a shell script, and the folder that it lives in.
fn script(text: &str) -> (tempfile::TempDir, Probe) {
    let dir = tempfile::tempdir().expect("a folder");
    let program = dir.path().join("probe.sh");
    fs::write(&program, format!("#!/bin/sh\n{text}\n")).expect("a script");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("an executable");
    (dir, Probe::with(program, Device::Cpu))
}

fn measure_one(probe: &Probe, plan: Plan, cancelled: &dyn Fn() -> bool) -> Result<Samples, LatencyError> {
    let model = Model { label: "a", source: Source::Bytes(b"x"), inputs: Vec::new() };
    measure(probe, &[model], &LatencyConfig::default(), &plan, cancelled)
}

#[test]
fn a_process_that_dies_is_reported_with_what_it_said() {
    let (_dir, probe) = script("echo 'no such library' >&2; exit 3");
    let error = measure_one(&probe, Plan::default(), &|| false).expect_err("it died");
    assert!(error.to_string().contains("exit status: 3): no such library"), "{error}");
    assert!(!error.is_input());
    let (_dir, probe) = script("echo 'this is no answer'");
    let error = measure_one(&probe, Plan::default(), &|| false).expect_err("no answer");
    assert!(matches!(error, LatencyError::Died { .. }), "{error:?}");
}

#[test]
fn the_answer_is_the_last_line_whatever_a_library_prints_before_it() {
    let answer = r#"{"answer":"measured","engine_version":"1","wall_ns":[[5,6]],"cpu_ns":[[3,4]]}"#;
    let (_dir, probe) = script(&format!("echo 'hello from a library'; echo '{answer}'"));
    let plan = Plan { rounds: 2, ..Plan::default() };
    let samples = measure_one(&probe, plan, &|| false).expect("an answer");
    assert_eq!(samples.rounds.len(), 2, "one process a round");
    assert_eq!(samples.rounds[1].series[0].wall_ns, [5, 6]);
}

#[test]
fn every_network_is_loaded_first_as_often_as_last() {
    // A process in which whatever is loaded second takes twice as long.
    let answer = r#"{"answer":"measured","engine_version":"1","wall_ns":[[1],[2]],"cpu_ns":[[1],[2]]}"#;
    let (_dir, probe) = script(&format!("echo '{answer}'"));
    let model = |label| Model { label, source: Source::Bytes(b"x"), inputs: Vec::new() };
    let plan = Plan { rounds: 2, ..Plan::default() };
    let samples = measure(&probe, &[model("a"), model("b")], &LatencyConfig::default(), &plan, &|| false);
    let samples = samples.expect("an answer");
    let times = |label| samples.rounds.iter().map(|round| round.get(label).expect("measured").wall_ns[0]).collect();
    let (a, b): (Vec<u64>, Vec<u64>) = (times("a"), times("b"));
    assert_eq!((a, b), (vec![1, 2], vec![2, 1]));
}

#[test]
fn a_failed_network_is_named() {
    let (_dir, probe) = script(r#"echo '{"answer":"model_failed","label":"a","detail":"operator Foo"}'"#);
    let error = measure_one(&probe, Plan::default(), &|| false).expect_err("a network failed");
    assert!(error.is_input() && error.to_string() == "a cannot be run in onnxruntime: operator Foo", "{error}");
}

#[test]
fn a_cancelled_or_late_process_is_killed_and_reaped() {
    for (timeout, stop) in [(60.0, true), (0.3, false)] {
        let (dir, probe) = script("echo $$ > \"$(dirname \"$0\")/pid\"; exec sleep 60");
        let pid = || fs::read_to_string(dir.path().join("pid")).ok().filter(|pid| pid.ends_with('\n'));
        let plan = Plan { timeout_seconds: timeout, ..Plan::default() };
        let start = Instant::now();
        let error = measure_one(&probe, plan, &|| stop && pid().is_some()).expect_err("stopped");
        let expected =
            if stop { matches!(error, LatencyError::Cancelled) } else { matches!(error, LatencyError::Timeout { .. }) };
        assert!(expected, "{error:?}");
        assert!(start.elapsed() < Duration::from_secs(20), "it did not wait for the process to end by itself");
        if let Some(pid) = pid() {
            assert!(!Path::new("/proc").join(pid.trim()).exists(), "process {pid} is gone");
        }
    }
}
