//! The layers of ARCHITECTURE.md, held against the imports of the sources.

mod imports;

use std::collections::{BTreeMap, BTreeSet};

use imports::{Source, circles, imports, sources};

/// Each module with the modules that it may use. What is not listed here fails the test, so a new module needs a place.
const LAYERS: &[(&str, &[&str])] = &[
    ("children", &[]),
    ("hash", &[]),
    // A program of its own, made of files of other modules.
    ("helper", &[]),
    ("ids", &[]),
    ("json", &[]),
    ("nearest", &[]),
    ("problem", &[]),
    ("shutdown", &[]),
    ("statistics", &[]),
    ("telemetry", &[]),
    ("images", &["hash", "problem"]),
    ("graph", &[]),
    ("spec", &["images", "json", "nearest", "problem", "statistics"]),
    ("onnx", &["graph", "problem"]),
    ("exec", &["graph"]),
    ("onnxruntime", &["graph"]),
    ("conformance", &["exec", "graph", "onnx"]),
    ("latency", &["children", "exec", "graph", "onnx", "onnxruntime", "spec", "statistics"]),
    ("network", &["exec", "graph", "images", "latency", "nearest", "onnx", "onnxruntime", "problem", "spec"]),
    ("compress", &["exec", "graph", "hash", "images", "latency", "network", "onnx", "onnxruntime", "problem", "spec"]),
    ("db", &["ids", "spec"]),
    ("blobs", &["db", "hash", "ids"]),
    ("private_postgres", &["children", "db", "hash"]),
    ("queue", &["blobs", "db", "hash", "ids", "problem", "spec"]),
    (
        "service",
        &[
            "blobs",
            "children",
            "compress",
            "db",
            "exec",
            "hash",
            "ids",
            "images",
            "queue",
            "json",
            "latency",
            "nearest",
            "network",
            "onnx",
            "onnxruntime",
            "problem",
            "spec",
        ],
    ),
    ("http", &["db", "hash", "ids", "images", "queue", "json", "problem", "service", "shutdown", "spec"]),
    (
        "worker",
        &[
            "blobs",
            "children",
            "compress",
            "db",
            "exec",
            "ids",
            "images",
            "queue",
            "latency",
            "network",
            "onnxruntime",
            "problem",
            "service",
            "shutdown",
            "spec",
        ],
    ),
    (
        "cli",
        &[
            "compress",
            "conformance",
            "db",
            "exec",
            "http",
            "ids",
            "images",
            "queue",
            "json",
            "latency",
            "network",
            "onnx",
            "private_postgres",
            "problem",
            "service",
            "shutdown",
            "spec",
            "telemetry",
            "worker",
        ],
    ),
];

/// The parts of `compress`: each may use only those before it.
const METHOD: &[&str] = &[
    "error",
    "random",
    "observer",
    "samples",
    "student",
    "quality",
    "setting",
    "file",
    "stream",
    "train",
    "refit",
    "adapters",
    "recoverability",
    "recipes",
    "pictures",
    "evaluate",
    "pipeline",
    "baseline",
    "steps",
];

/// Crates that only some modules may name.
const CONFINED: &[(&str, &[&str])] = &[
    ("tch", &["exec", "conformance", "latency", "network", "compress"]),
    ("buffa", &["onnx"]),
    ("sqlx", &["db"]),
    ("axum", &["http"]),
];

/// Files that may stand side by side in a folder, beside its `mod.rs` and its folders.
const MOST_FILES: usize = 8;

/// Folders that have more, and how many.
const CROWDED: &[(&str, usize)] = &[
    ("cli", 16),
    ("db", 23),
    ("exec", 16),
    ("exec/ops", 16),
    ("graph", 11),
    ("graph/shape/ops", 9),
    ("http", 21),
    ("images", 13),
    ("queue", 13),
];

#[test]
fn modules_use_only_what_stands_before_them() {
    let (sources, layers) = (sources(), LAYERS.iter().copied().collect::<BTreeMap<&str, &[&str]>>());
    let (mut wrong, mut used) = (Vec::new(), BTreeSet::new());
    for (from, to, example) in arrows(&sources, Source::top) {
        let allowed = layers.get(from.top()).is_some_and(|allowed| allowed.contains(&to.top()));
        if !allowed {
            wrong.push(format!("{}: {} may not use {example}", from.path.display(), from.top()));
        }
        used.insert((from.top(), to.top()));
    }
    let placeless = sources.iter().filter(|source| !layers.contains_key(source.top()));
    wrong.extend(placeless.map(|source| format!("{} has no place in the layers", source.path.display())));
    let allowances = LAYERS.iter().flat_map(|(module, allowed)| allowed.iter().map(move |other| (*module, *other)));
    let place = |module: &str| LAYERS.iter().position(|(listed, _)| *listed == module);
    for (module, other) in allowances {
        if place(other) >= place(module) {
            wrong.push(format!("{module} stands before {other} and may not use it"));
        }
        if !used.contains(&(module, other)) {
            wrong.push(format!("{module} may use {other} and does not"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_part_of_the_method_uses_only_those_before_it() {
    let sources: Vec<Source> = sources();
    let part = |source: &'_ Source| source.module.get(1).map_or("", String::as_str).to_owned();
    let place = |part: &str| METHOD.iter().position(|listed| *listed == part);
    let inside = |source: &&Source| source.top() == "compress" && source.module.len() > 1;
    let parts: BTreeSet<String> = sources.iter().filter(inside).map(part).collect();
    let mut wrong: Vec<String> = parts
        .iter()
        .filter(|part| place(part).is_none())
        .map(|part| format!("compress::{part} has no place"))
        .collect();
    wrong.extend(
        METHOD.iter().filter(|part| !parts.contains(**part)).map(|part| format!("there is no compress::{part}")),
    );
    for (from, to, example) in arrows(&sources, |_| "").into_iter().filter(|(from, to, _)| inside(from) && inside(to)) {
        let (from_part, to_part) = (part(from), part(to));
        if place(&from_part) < place(&to_part) {
            wrong.push(format!("{}: {from_part} stands before {example}", from.path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_files_take_from_each_other() {
    let sources = sources();
    let imports = imports(&sources);
    let mut wrong = Vec::new();
    for circle in circles(&imports) {
        wrong.push(format!("a circle of {}:", circle.len()));
        for file in &circle {
            let inside = imports[*file].iter().filter(|(other, _)| circle.contains(other));
            wrong.extend(inside.map(|(_, example)| format!("    {} takes {example}", sources[*file].path.display())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_folder_holds_few_files() {
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    for source in sources() {
        let folder = source.path.parent().expect("a folder").to_string_lossy().into_owned();
        *found.entry(folder).or_default() += usize::from(!source.path.ends_with("mod.rs"));
    }
    // Beside lib.rs and main.rs stand files that are a module each.
    found.remove("");
    found.retain(|_, files| *files > MOST_FILES);
    let listed: BTreeMap<String, usize> =
        CROWDED.iter().map(|(folder, files)| ((*folder).to_owned(), *files)).collect();
    assert_eq!(found, listed, "folders of more than {MOST_FILES} files");
}

#[test]
fn tensors_protobuf_sql_and_http_stay_where_they_belong() {
    let (mut wrong, mut used) = (Vec::new(), BTreeSet::new());
    for source in sources() {
        for (name, modules) in CONFINED.iter().filter(|(name, _)| names_crate(&source.code, name)) {
            used.insert((*name, source.top().to_owned()));
            if !modules.contains(&source.top()) {
                wrong.push(format!("{}: {name} is not for {}", source.path.display(), source.top()));
            }
        }
    }
    for (name, modules) in CONFINED {
        let unused = modules.iter().filter(|module| !used.contains(&(*name, (**module).to_owned())));
        wrong.extend(unused.map(|module| format!("{module} may use {name} and does not")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn names_crate(code: &str, name: &str) -> bool {
    code.match_indices(&format!("{name}::"))
        .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
}

/// All imports from one file to another that has something else for `side`, or all where that is nothing.
fn arrows(sources: &[Source], side: impl Fn(&Source) -> &str) -> Vec<(&Source, &Source, String)> {
    let mut found = Vec::new();
    for (from, imports) in sources.iter().zip(imports(sources)) {
        let others = imports.into_iter().map(|(to, example)| (from, &sources[to], example));
        found.extend(others.filter(|(from, to, _)| side(from).is_empty() || side(from) != side(to)));
    }
    found
}
