//! ONNX's own backend tests, those that come as files: `scripts/setup --tests` lays them out. `make conformance` runs all.

use std::path::{Path, PathBuf};

use practised::conformance::{Outcome, Verdict, Wish, outcome};
use practised::exec::Device;

/// As `scripts/conformance` has it: ONNX's own tolerances.
const WISH: Wish = Wish { rtol: 1e-3, atol: 1e-7, of_scale: 0.0, folded: true, device: Device::Cpu };

/// Suites, and how many of their cases pass: the rest needs sequences, strings, training or double precision.
const SUITES: [(&str, usize); 3] = [("simple", 7), ("pytorch-operator", 35), ("pytorch-converted", 82)];

fn cases(suite: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".local/onnx-cases").join(suite);
    let entries =
        folder.read_dir().unwrap_or_else(|error| panic!("{}: {error}; run scripts/setup --tests", folder.display()));
    let mut cases: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    cases.retain(|case| case.join("model.onnx").exists());
    cases.sort();
    cases
}

#[test]
fn what_onnx_expects_comes_out_and_nothing_else() {
    let mut problems = Vec::new();
    for (suite, expected) in SUITES {
        for folded in [true, false] {
            let outcomes: Vec<Outcome> =
                cases(suite).iter().map(|case| outcome(case, &Wish { folded, ..WISH })).collect();
            let passed = outcomes.iter().filter(|outcome| matches!(outcome.verdict, Verdict::Passed { .. })).count();
            if passed != expected {
                problems
                    .push(format!("{suite}, folded {folded}: {passed} of {} passed, not {expected}", outcomes.len()));
            }
            let failed = outcomes.into_iter().filter(|outcome| matches!(outcome.verdict, Verdict::Failed { .. }));
            problems.extend(failed.map(|outcome| format!("{suite}: {}: {:?}", outcome.case, outcome.verdict)));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
