//! README names a test for each promise of the queue, docs/reliability.md one for each fault: those tests are there.

use std::path::Path;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("a file")
}

/// All sources of the integration tests, one after the other.
fn sources(folder: &Path) -> String {
    let mut all = String::new();
    for entry in std::fs::read_dir(folder).expect("listed").flatten() {
        let path = entry.path();
        if path.is_dir() {
            all += &sources(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all += &std::fs::read_to_string(path).expect("a source");
        }
    }
    all
}

/// What stands in backquotes in the last cell of the rows of the tables of a text.
fn tests_named(text: &str) -> Vec<&str> {
    let rows = text.lines().filter(|line| line.starts_with("| ") && line.ends_with(" |"));
    let last = rows.filter_map(|row| row.trim_end_matches(" |").rsplit(" | ").next());
    last.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn every_promise_and_every_fault_has_its_test() {
    let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it"));
    let (readme, reliability) = (read("README.md"), read("docs/reliability.md"));
    let section = |text: &str, from: &str, to: &str| {
        let begin = text.find(from).unwrap_or_else(|| panic!("no {from}"));
        let end = text[begin..].find(to).unwrap_or_else(|| panic!("no {to}"));
        text[begin..begin + end].to_owned()
    };
    let promises = section(&readme, "## What the queue promises", "`practised doctor`");
    let faults = section(&reliability, "## Faults, one by one", "## The checker");
    let named: Vec<&str> = tests_named(&promises).into_iter().chain(tests_named(&faults)).collect();
    assert!(named.len() >= 20, "{named:?}");
    for name in named.into_iter().filter(|name| !name.starts_with("PRACTISED_") && !name.contains(' ')) {
        let there = match (name.strip_suffix('…'), name.strip_prefix("queue::")) {
            (Some(begins), _) => sources.contains(&format!("fn {begins}")),
            (None, Some(module)) => sources.contains(&format!("mod {module};")),
            _ => sources.contains(&format!("fn {name}(")),
        };
        assert!(there, "{name} is no test");
    }
    let rows = |text: &str| (1..=11).all(|number| text.contains(&format!("| {number} | ")));
    assert!(rows(&promises), "all eleven promises");
}
