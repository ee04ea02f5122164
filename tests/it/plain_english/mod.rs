//! Customers read plain English: no string of the sources, no `--help` page and no problem holds a phrase of the list below.

mod literals;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use practised::cli::Cli;
use practised::problem::Code;

use literals::literals;

/// What does not belong into a text for customers, and what to write instead.
const PHRASES: &[(&str, &str)] = &[
    ("wish", "option, setting"),
    ("wishes", "options, settings"),
    ("made pictures", "synthetic images"),
    ("drawn pictures", "procedural images"),
    ("pictures", "images"),
    ("images that decide", "validation images"),
    ("beside", "next to, in addition to"),
    ("besides", "in addition"),
    ("way out", "fix"),
    ("ways out", "fixes"),
    ("goes on from", "resumes from"),
    ("gone on from", "resumed from"),
    ("broken off", "interrupted"),
    ("come out", "after preprocessing"),
    ("comes out", "after preprocessing"),
    ("told", "reported"),
    ("has faults", "is invalid"),
    ("a fault of ours", "an internal error"),
    ("no number", "not finite, not a number"),
    ("is none", "does not exist, is unknown"),
    ("makes no sense", "is invalid"),
    ("anew", "again"),
    ("short of", "except"),
    ("as it stands", "unchanged"),
    ("whoever", "the caller, the operator"),
    ("nobody", "no one, nothing"),
    ("makes way", "is replaced by"),
    ("a block less", "one block fewer"),
    ("in the mean", "on average"),
    ("ran out", "is out of, expired"),
    ("opens nothing", "is unknown or revoked"),
    ("look over", "check"),
    ("comes to be", "is created"),
    ("says nothing", "has no meaning"),
    ("of its own", "unique, local"),
];

/// `where` begins a condition if it begins a clause.
const CONDITIONS: &[&str] = &[", where ", "; where ", ": where ", ". where ", "(where "];

/// The phrases in a text, each with what to write instead.
fn phrases(text: &str) -> Vec<(&'static str, &'static str)> {
    let text = text.to_lowercase();
    let mut found: Vec<_> = PHRASES.iter().copied().filter(|(phrase, _)| has_words(&text, phrase)).collect();
    if text.starts_with("where ") || CONDITIONS.iter().any(|clause| text.contains(clause)) {
        found.push(("where", "if, when"));
    }
    found
}

/// Whether the words are in the text as whole words. What is in backquotes is a name.
fn has_words(text: &str, words: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_' || c == '`';
    text.match_indices(words)
        .any(|(at, _)| !text[..at].ends_with(part_of_word) && !text[at + words.len()..].starts_with(part_of_word))
}

/// One line for each phrase in these texts.
fn complaints<'t>(place: &str, texts: impl IntoIterator<Item = (usize, &'t str)>) -> Vec<String> {
    let complain = |(line, text): (usize, &str)| {
        let found = phrases(text).into_iter();
        let complaint = move |(phrase, instead)| format!("{place}:{line}: \"{phrase}\" (write: {instead})");
        found.map(complaint).collect::<Vec<_>>()
    };
    texts.into_iter().flat_map(complain).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("listed").flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> =
        entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    found.sort();
    found
}

/// Every source of the library with its text; unit tests in files of their own are left out.
fn sources() -> Vec<(String, String)> {
    let of_tests = |path: &PathBuf| path.to_string_lossy().ends_with("_tests.rs");
    let found = files(&root().join("src")).into_iter().filter(|path| path.extension().is_some_and(|name| name == "rs"));
    let read = |path: PathBuf| {
        let name = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
        (name, std::fs::read_to_string(&path).expect("a source"))
    };
    found.filter(|path| !of_tests(path)).map(read).collect()
}

/// SQL has a `where` too.
fn is_sql(place: &str, text: &str) -> bool {
    place.starts_with("src/db/") && !text.starts_with(char::is_uppercase)
}

#[test]
fn the_strings_that_customers_see_are_plain_english() {
    let (mut wrong, mut seen) = (Vec::new(), BTreeSet::new());
    for (place, source) in sources() {
        let found = literals(&source);
        let sentences = found.iter().filter(|(_, text)| text.contains(' ') && !is_sql(&place, text));
        wrong.extend(complaints(&place, sentences.map(|(line, text)| (*line, text.as_str()))));
        seen.extend(found.into_iter().map(|(_, text)| text));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The scan reads what the service says: it knows every text of the table of problems.
    for code in Code::ALL {
        assert!(seen.contains(code.title()) && seen.contains(code.way_out()), "{} was not scanned", code.as_str());
    }
}

#[test]
fn every_help_page_is_plain_english() {
    let mut open = vec![Cli::command()];
    let (mut wrong, mut pages) = (Vec::new(), 0);
    while let Some(mut command) = open.pop() {
        let page = command.render_long_help().to_string();
        // Lines are joined, so that a phrase may be broken between two.
        let words = page.split_whitespace().collect::<Vec<_>>().join(" ");
        wrong.extend(complaints(&format!("{} --help", command.get_name()), [(1, words.as_str())]));
        pages += 1;
        open.extend(command.get_subcommands().cloned());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(pages > 10, "{pages} pages");
}

/// `docs/method.md §6.1` in a comment is a heading `### 6.1` there.
#[test]
fn sources_cite_sections_of_the_method_that_exist() {
    let method = std::fs::read_to_string(root().join("docs/method.md")).expect("a page");
    let sections: BTreeSet<&str> =
        method.lines().filter(|line| line.starts_with('#')).filter_map(|line| line.split(' ').nth(1)).collect();
    let (mut cited, mut wrong) = (0, Vec::new());
    for (place, source) in sources() {
        for (_, behind) in source.match_indices("docs/method.md §").map(|(at, found)| (at, &source[at + found.len()..]))
        {
            let section = behind.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap_or_default();
            let section = section.trim_end_matches('.');
            cited += 1;
            if !sections.contains(section) {
                wrong.push(format!("{place} cites section {section}"));
            }
        }
        if source.contains("(method §") {
            wrong.push(format!("{place} cites a method without its page"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cited > 10, "{cited} citations");
}

#[test]
fn a_phrase_is_found_with_file_line_and_phrase() {
    let source = "\n// told in a comment\nfn f() { say(\"It was \\\n    told twice, where it is.\"); }\n";
    let found = literals(source);
    let complaints = complaints("src/a.rs", found.iter().map(|(line, text)| (*line, text.as_str())));
    let expected = ["src/a.rs:3: \"told\" (write: reported)", "src/a.rs:3: \"where\" (write: if, when)"];
    assert_eq!(complaints, expected);
    assert!(phrases("untold, or the user `nobody`, who knows where").is_empty());
}
