//! The layers of ARCHITECTURE.md, held against the `crate::` paths in the sources.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Each module with the modules that it may use. What is not listed here fails the test, so a new module needs a place.
const LAYERS: &[(&str, &[&str])] = &[
    ("ids", &[]),
    ("problem", &[]),
    ("images", &[]),
    ("json", &[]),
    ("shutdown", &[]),
    ("telemetry", &[]),
    ("children", &[]),
    ("graph", &[]),
    ("onnx", &["graph"]),
    ("exec", &["graph"]),
    ("compress", &["images", "json", "children", "graph", "onnx", "exec"]),
    ("db", &["ids", "images", "compress"]),
    ("jobs", &["ids", "json", "problem", "shutdown", "telemetry", "children", "compress", "db"]),
    ("service", &["ids", "problem", "images", "json", "children", "graph", "onnx", "exec", "compress", "db", "jobs"]),
    (
        "http",
        &["ids", "problem", "images", "json", "shutdown", "telemetry", "compress", "db", "jobs", "service", "onnx"],
    ),
    (
        "worker",
        &["ids", "problem", "images", "shutdown", "telemetry", "children", "compress", "exec", "db", "jobs", "service"],
    ),
    (
        "cli",
        &[
            "ids",
            "images",
            "json",
            "shutdown",
            "telemetry",
            "children",
            "graph",
            "onnx",
            "exec",
            "compress",
            "db",
            "jobs",
            "service",
            "http",
            "worker",
        ],
    ),
];

/// Crates that only some modules may name.
const CONFINED: &[(&str, &[&str])] =
    &[("tch::", &["exec", "compress"]), ("buffa::", &["onnx"]), ("sqlx::", &["db"]), ("axum::", &["http"])];

#[test]
fn modules_use_only_what_stands_before_them() {
    let layers: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    let mut wrong = Vec::new();
    for (module, path, text) in sources() {
        let Some(allowed) = layers.get(module.as_str()) else {
            wrong.push(format!("{}: module {module} has no place in the layers", path.display()));
            continue;
        };
        for (number, line) in code_lines(&text) {
            for used in used_modules(line).into_iter().filter(|used| *used != module && layers.contains_key(used)) {
                if !allowed.contains(&used) {
                    wrong.push(format!("{}:{number}: {module} may not use {used}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn tensors_protobuf_sql_and_http_stay_where_they_belong() {
    let mut wrong = Vec::new();
    for (module, path, text) in sources() {
        for (number, line) in code_lines(&text) {
            for (krate, modules) in CONFINED {
                if names_crate(line, krate) && !modules.contains(&module.as_str()) {
                    wrong.push(format!("{}:{number}: {krate} is not for {module}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn names_crate(line: &str, krate: &str) -> bool {
    line.match_indices(krate)
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
}

/// (top-level module, path, text) of every source file but the two roots.
fn sources() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut open = vec![root.clone()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).expect("src is readable") {
            let path = entry.expect("src is readable").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let below = path.strip_prefix(&root).expect("below src").to_owned();
                let module = below.iter().next().expect("a file").to_string_lossy().trim_end_matches(".rs").to_owned();
                if module != "lib" && module != "main" {
                    let text = std::fs::read_to_string(&path).expect("a source is UTF-8");
                    found.push((module, below, text));
                }
            }
        }
    }
    assert!(found.len() > 50, "the sources were found");
    found
}

fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(i, line)| (i + 1, line)).filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// `crate::graph::Graph` → graph; `use crate::{db, jobs}` → db, jobs.
fn used_modules(line: &str) -> Vec<&str> {
    let mut used = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        let names = rest.strip_prefix('{').map_or(rest, |group| group.split('}').next().unwrap_or(group));
        let grouped = rest.starts_with('{');
        let parts: Vec<&str> = if grouped { names.split(',').collect() } else { vec![names] };
        used.extend(
            parts
                .into_iter()
                .map(|part| part.trim().split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("")),
        );
    }
    used
}
