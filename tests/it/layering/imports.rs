//! Which file takes something from which, read from the sources as text.
//!
//! A path is followed to the file that has the item: `crate::graph::Node` to graph/model.rs, because graph/mod.rs passes it on from
//! there. A `mod.rs` is the face of its folder: what it and the files below it take from each other does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Names of modules from the root on, or of an item behind them.
type Names = Vec<String>;

/// One source file, without comments and tests.
pub struct Source {
    /// Below src.
    pub path: PathBuf,
    /// Its module.
    pub module: Names,
    /// Its code.
    pub code: String,
}

/// Something that a `use` brings in.
struct Leaf {
    names: Names,
    /// Its name here.
    alias: String,
    /// Whether it is passed on.
    is_public: bool,
}

impl Source {
    /// The module at the top that it belongs to.
    pub fn top(&self) -> &str {
        self.module.first().map_or("", String::as_str)
    }

    fn is_face(&self) -> bool {
        self.path.ends_with("mod.rs")
    }

    fn is_face_of(&self, other: &Self) -> bool {
        self.is_face() && other.module.starts_with(&self.module)
    }

    /// Names of a path as they are seen from the root; `None` if they are not of this crate.
    fn absolute(&self, names: &[String]) -> Option<Names> {
        let above = names.iter().take_while(|name| *name == "super").count();
        match names.first()?.as_str() {
            "crate" => Some(names[1..].to_vec()),
            "self" => Some([&self.module, &names[1..]].concat()),
            "super" => Some([&self.module[..self.module.len().checked_sub(above)?], &names[above..]].concat()),
            _ => None,
        }
    }
}

/// Every source file of the library.
pub fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut open = vec![root.clone()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).expect("src is readable") {
            let path = entry.expect("src is readable").path();
            let below = path.strip_prefix(&root).expect("below src").to_owned();
            let name = below.file_name().expect("a name").to_string_lossy();
            if path.is_dir() {
                open.push(path);
            } else if name.ends_with(".rs") && !name.ends_with("_tests.rs") && !["lib.rs", "main.rs"].contains(&&*name)
            {
                let text = std::fs::read_to_string(&path).expect("a source is UTF-8");
                found.push(Source { module: module(&below), path: below, code: code(&text) });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 50, "the sources were found");
    found
}

/// `compress/refit/mod.rs` → compress, refit.
fn module(path: &Path) -> Names {
    let mut names: Names = path.with_extension("").iter().map(|name| name.to_string_lossy().into_owned()).collect();
    names.pop_if(|name| name == "mod");
    names
}

/// A text without comments and without its tests, which stand at the end.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    text.lines().map(|line| if line.trim_start().starts_with("//") { "" } else { line }).collect::<Vec<_>>().join("\n")
}

/// For each file, in the order of `sources`, the files that it takes something from, with an example.
pub fn imports(sources: &[Source]) -> Vec<BTreeMap<usize, String>> {
    let modules: BTreeMap<&Names, usize> =
        sources.iter().enumerate().map(|(at, source)| (&source.module, at)).collect();
    let mut passed_on: BTreeMap<Names, Names> = BTreeMap::new();
    for source in sources {
        for leaf in leaves(&source.code).into_iter().filter(|leaf| leaf.is_public) {
            let from = source.absolute(&leaf.names).unwrap_or_else(|| [&source.module[..], &leaf.names].concat());
            passed_on.insert([&source.module[..], &[leaf.alias]].concat(), from);
        }
    }
    let imports = |(at, source): (usize, &Source)| {
        let found = paths(source, &modules).into_iter().filter_map(|names| {
            let file = file_of(&names, &modules, &passed_on)?;
            let counts = file != at && !source.is_face_of(&sources[file]) && !sources[file].is_face_of(source);
            counts.then(|| (file, names.join("::")))
        });
        found.collect()
    };
    sources.iter().enumerate().map(imports).collect()
}

/// All paths of a file that may lead to other files of the crate, as seen from the root.
fn paths(source: &Source, modules: &BTreeMap<&Names, usize>) -> Vec<Names> {
    // A child is named without anything ahead of it.
    let child = |names: &[String]| {
        let path = [&source.module[..], names].concat();
        modules.contains_key(&path[..=source.module.len()].to_vec()).then_some(path)
    };
    let mut known: BTreeMap<String, Names> = BTreeMap::new();
    let mut found = Vec::new();
    for leaf in leaves(&source.code).into_iter().filter(|leaf| !leaf.is_public) {
        if let Some(names) = source.absolute(&leaf.names).or_else(|| child(&leaf.names)) {
            known.insert(leaf.alias, names.clone());
            found.push(names);
        }
    }
    for names in written(&source.code) {
        let behind = known.get(&names[0]).map(|known| [known, &names[1..]].concat());
        found.extend(source.absolute(&names).or(behind).or_else(|| child(&names)));
    }
    found
}

/// The file that has what these names lead to.
fn file_of(names: &[String], modules: &BTreeMap<&Names, usize>, passed_on: &BTreeMap<Names, Names>) -> Option<usize> {
    let mut names = names.to_vec();
    let mut found = None;
    for _ in 0..MOST_STEPS {
        let end = (1..=names.len()).rev().find(|end| is_known(&names[..*end], modules, passed_on))?;
        let (start, rest) = (names[..end].to_vec(), &names[end..]);
        let file = modules.get(&start).copied();
        found = file.or(found);
        // A function that is named as the module it comes from is meant where nothing follows.
        match passed_on.get(&start).filter(|_| rest.is_empty() || file.is_none()) {
            Some(from) => names = [from, rest].concat(),
            None => return file,
        }
    }
    found
}

/// Files that pass an item on, one to the other, at most.
const MOST_STEPS: usize = 8;

fn is_known(names: &[String], modules: &BTreeMap<&Names, usize>, passed_on: &BTreeMap<Names, Names>) -> bool {
    modules.contains_key(&names.to_vec()) || passed_on.contains_key(names)
}

/// All that the `use`s of a text bring in.
fn leaves(code: &str) -> Vec<Leaf> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let ahead = code[..at].rsplit('\n').next().unwrap_or_default().trim();
        let is_public = ahead.starts_with("pub");
        if (ahead.is_empty() || is_public) && !ahead.contains('"') {
            let tree: String = code[at + "use ".len()..].chars().take_while(|c| *c != ';').collect();
            flatten(&tree, &[], is_public, &mut found);
        }
    }
    found
}

/// `a::{b, c::d as e}` → a::b, a::c::d.
fn flatten(tree: &str, ahead: &[String], is_public: bool, found: &mut Vec<Leaf>) {
    let tree = tree.trim();
    if let Some((start, group)) = tree.strip_suffix('}').and_then(|tree| tree.split_once('{')) {
        let ahead = [ahead, &names(start)].concat();
        let mut depth = 0;
        let parts = group.split(|c: char| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            c == ',' && depth == 0
        });
        parts.filter(|part| !part.trim().is_empty()).for_each(|part| flatten(part, &ahead, is_public, found));
        return;
    }
    let (path, alias) = tree.split_once(" as ").map_or((tree, None), |(path, alias)| (path, Some(alias)));
    let mut names = [ahead, &names(path)].concat();
    names.pop_if(|name| name == "self" || name == "*");
    let Some(last) = names.last().cloned() else { return };
    found.push(Leaf { names, alias: alias.map_or(last, str::to_owned), is_public });
}

fn names(path: &str) -> Names {
    path.split("::").map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
}

/// Every path of two names or more that a text has.
fn written(code: &str) -> BTreeSet<Names> {
    let words = code.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    let paths = words.map(|word| names(word.trim_matches(':')));
    paths.filter(|names| names.len() > 1).collect()
}

/// The circles: sets of files each of which leads to every other.
pub fn circles(imports: &[BTreeMap<usize, String>]) -> Vec<BTreeSet<usize>> {
    let reached: Vec<BTreeSet<usize>> = (0..imports.len()).map(|file| reached(imports, file)).collect();
    let circle = |file: usize| reached[file].iter().copied().filter(|other| reached[*other].contains(&file)).collect();
    let circles: BTreeSet<BTreeSet<usize>> = (0..imports.len()).map(circle).collect();
    circles.into_iter().filter(|circle| !circle.is_empty()).collect()
}

fn reached(imports: &[BTreeMap<usize, String>], file: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut open = vec![file];
    while let Some(at) = open.pop() {
        open.extend(imports[at].keys().copied().filter(|other| found.insert(*other)));
    }
    found
}
