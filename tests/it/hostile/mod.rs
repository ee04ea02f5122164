//! Hostile files: what the fuzzers have found, minimised (`decode/`, `check/`, `archive/`; `make fuzz` adds to them), and what was
//! made by hand to ask for as much as it can. An error or an answer, and never a panic, a stack that overflows, or memory and
//! computing that a file is not worth.
//!
//! Each test runs once more, in a process of its own that the system gives little memory and computing: to fail is to come to an
//! end there.

mod doors;
mod made;

use std::path::{Path, PathBuf};
use std::process::Command;

use practised::exec::{Device, Executor, Params, RunOptions};
use practised::images::Limits;
use practised::network::Network;
use practised::onnx;
use tch::{Kind, Tensor};

/// Says to a process that it is the confined one.
const CONFINED: &str = "PRACTISED_TEST_CONFINED";

/// Address space of a confined process, of which libtorch alone maps about one GiB. One image of the largest size that is taken
/// needs some 800 MiB to be decoded.
const KIB: u64 = 4 << 20;

/// Seconds of computing, whatever the machine does beside; without optimisation a test needs a few.
const SECONDS: u64 = 240;

#[test]
fn found_files_do_no_worse_than_an_error() {
    confined("found_files_do_no_worse_than_an_error", || {
        let networks = [found("decode"), found("check")].concat();
        assert!(!networks.is_empty());
        for bytes in &networks {
            doors::decode(bytes);
            doors::check(bytes);
        }
        found("archive").iter().for_each(|bytes| doors::archive(bytes, &Limits::default()));
    });
}

#[test]
fn networks_made_to_ask_for_too_much_do_no_worse_than_an_error() {
    confined("networks_made_to_ask_for_too_much_do_no_worse_than_an_error", || {
        for (name, bytes) in made::networks() {
            println!("{name}: {} bytes", bytes.len());
            doors::decode(&bytes);
            doors::check(&bytes);
        }
    });
}

#[test]
fn networks_too_long_or_too_wide_to_look_at_twice_do_no_worse_than_an_error() {
    confined("networks_too_long_or_too_wide_to_look_at_twice_do_no_worse_than_an_error", || {
        for (name, bytes) in made::large_networks() {
            println!("{name}: {} bytes", bytes.len());
            doors::check(&bytes);
        }
    });
}

#[test]
fn values_that_no_memory_holds_are_refused_with_what_makes_them() {
    for (name, graph) in made::growing() {
        let bytes = onnx::encode_graph(&graph, 8).expect("a network is written");
        let error = Network::load(&bytes).err().expect("refused");
        let said = error.to_string();
        assert_eq!(error.code().as_str(), "model_too_complex", "{name}: {said}");
        assert!(
            said.contains("value \"b\", computed by node \"b\", has") && said.contains("smaller"),
            "{name}: {said}"
        );
    }
}

/// What was not known before a network runs, or whatever loaded it.
#[test]
fn values_that_no_memory_holds_do_no_worse_than_an_error_where_they_are_computed() {
    confined("values_that_no_memory_holds_do_no_worse_than_an_error_where_they_are_computed", || {
        let image = Tensor::ones([1, 3, 8, 8], (Kind::Float, tch::Device::Cpu));
        for (name, graph) in made::growing().into_iter().chain(made::overflowing()) {
            println!("{name}");
            let executor = Executor::new(&graph, &["x"], &["y"]).expect("is planned");
            let params = Params::from_graph(&graph, Device::Cpu).expect("constants");
            let error = executor.run(&params, &[("x", &image)], &RunOptions::default()).expect_err("an error");
            assert!(!error.to_string().is_empty());
        }
    });
}

#[test]
fn images_that_claim_to_be_huge_do_no_worse_than_an_error() {
    confined("images_that_claim_to_be_huge_do_no_worse_than_an_error", || {
        for (name, bytes) in made::archives() {
            println!("{name}: {} bytes", bytes.len());
            doors::archive(&bytes, &Limits::default());
        }
    });
}

/// Without this the others could not fail for the memory that they take.
#[test]
fn a_confined_process_gets_no_more_than_its_share() {
    confined("a_confined_process_gets_no_more_than_its_share", || {
        let mut most: Vec<u8> = Vec::new();
        assert!(most.try_reserve_exact((KIB << 10) as usize).is_err());
    });
}

/// What the fuzzers have left for a door.
fn found(door: &str) -> Vec<Vec<u8>> {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/hostile").join(door);
    // Where nothing has been found there is no folder.
    let entries = std::fs::read_dir(&folder).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("readable")).collect()
}

/// Runs `work` in a process of its own, which runs the test of this name and nothing else.
fn confined(test: &str, work: impl FnOnce()) {
    if std::env::var_os(CONFINED).is_some() {
        return work();
    }
    let limits = format!("ulimit -v {KIB}; ulimit -t {SECONDS}; exec \"$0\" \"$@\"");
    let run = Command::new("sh")
        .args(["-c", &limits])
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", &format!("hostile::{test}"), "--nocapture", "--test-threads=1"])
        .env(CONFINED, "1")
        .output()
        .expect("sh runs");
    let said = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && said.contains("1 passed"), "{}: {said}", run.status);
}
