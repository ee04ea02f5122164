//! ONNX Runtime as the service uses it: one session after another, and a library that is missing or is none.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use practised::onnxruntime::{Elements, Feed, Session};

use crate::support::networks::TinyResNet;

/// Set in the environment of the copies of this test binary that the tests below start.
const CHILD: &str = "PRACTISED_TEST_CHILD";

#[test]
fn a_network_runs_at_any_batch_size_and_names_what_it_takes_and_gives() {
    let mut session = Session::open(&TinyResNet::default().bytes(), 2).unwrap();
    assert_eq!((session.input_names(), session.output_names()), (vec!["input"], vec!["logits"]));
    for batch in [1, 3] {
        let data = Elements::Float(vec![0.5; batch * 3 * 8 * 8]);
        let feed = [Feed { name: "input", shape: &[batch, 3, 8, 8], data: &data }];
        session.execute(&feed).unwrap();
        let output = session.run(&feed).unwrap().remove(0);
        assert_eq!((output.name.as_str(), output.shape, output.data.len()), ("logits", vec![batch, 10], batch * 10));
    }
}

#[test]
fn what_does_not_fit_is_an_error_that_names_it() {
    let mut session = Session::open(&TinyResNet::default().bytes(), 1).unwrap();
    let data = Elements::Float(vec![0.0; 3 * 8 * 8]);
    let error = session.run(&[Feed { name: "inptu", shape: &[1, 3, 8, 8], data: &data }]).unwrap_err().to_string();
    assert!(error.contains("inptu"), "{error}");
    let error = session.run(&[Feed { name: "input", shape: &[3, 1, 8, 8], data: &data }]).unwrap_err().to_string();
    assert!(error.contains("input"), "{error}");
}

#[test]
fn a_library_that_is_missing_or_is_none_ends_in_an_error_and_never_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let (missing, text) = (folder.path().join("missing.so"), folder.path().join("text.so"));
    std::fs::write(&text, "not a library").unwrap();
    let torch = std::fs::canonicalize(concat!(env!("CARGO_MANIFEST_DIR"), "/.local/libtorch/lib/libc10.so"));

    let said = open_with(missing.to_str().unwrap());
    assert!(said.contains("missing.so (ORT_DYLIB_PATH)") && said.contains("scripts/setup"), "{said}");
    let said = open_with(text.to_str().unwrap());
    assert!(said.contains("text.so cannot be used"), "{said}");
    let said = open_with(torch.unwrap().to_str().unwrap());
    assert!(said.contains("libc10.so cannot be used") && said.contains("OrtGetApiBase"), "{said}");
}

/// What a process says that opens a session, twice, with this library.
fn open_with(library: &str) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "onnxruntime::opens_a_session_with_the_library_it_is_given", "--nocapture"])
        .env(CHILD, "1")
        .env("ORT_DYLIB_PATH", library)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > Duration::from_secs(30) {
            child.kill().unwrap();
            panic!("a session with {library} hangs");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

#[test]
fn opens_a_session_with_the_library_it_is_given() {
    let open = || Session::open(&TinyResNet::default().bytes(), 1);
    if std::env::var_os(CHILD).is_none() {
        open().unwrap();
        return;
    }
    let first = open().err().expect("the library is none").to_string();
    let second = open().err().expect("the library is still none").to_string();
    assert_eq!(first, second);
    println!("{first}");
}
