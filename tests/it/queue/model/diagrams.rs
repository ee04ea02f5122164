//! The diagrams of ARCHITECTURE.md have exactly the transitions that the exploration has seen.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::explore::explored;

/// From where, to where, by which transaction; `[*]` is what is before the beginning and behind the end.
type Edge = (String, String, String);

const OUTSIDE: &str = "[*]";

#[test]
fn the_diagrams_show_the_lease_model() {
    let seen = explored();
    let job = seen.job.iter().map(|&(from, to, by)| edge(from.name(), to.name(), by.name()));
    let task = seen.task.iter().map(|&(from, to, by)| edge(from.name(), to.name(), by.name()));
    let [drawn_job, drawn_task] = diagrams().try_into().expect("one diagram for jobs and one for tasks");
    // The exploration begins when the job has been submitted.
    let job = with_ends(job.chain([edge(OUTSIDE, "queued", "submit")]).collect());
    let task = with_ends(task.chain([edge(OUTSIDE, "ready", "submit")]).collect());
    compare("a job", &drawn_job, &job);
    compare("a task", &drawn_task, &task);
}

fn compare(what: &str, drawn: &BTreeSet<Edge>, seen: &BTreeSet<Edge>) {
    let made_up: Vec<&Edge> = drawn.difference(seen).collect();
    let missing: Vec<&Edge> = seen.difference(drawn).collect();
    assert!(
        made_up.is_empty() && missing.is_empty(),
        "{what}: drawn but never seen {made_up:?}, not drawn {missing:?}"
    );
}

fn edge(from: &str, to: &str, by: &str) -> Edge {
    (from.to_owned(), to.to_owned(), by.to_owned())
}

/// A state that nothing leads out of is an end.
fn with_ends(mut edges: BTreeSet<Edge>) -> BTreeSet<Edge> {
    let left: BTreeSet<String> = edges.iter().map(|(from, _, _)| from.clone()).collect();
    let reached: BTreeSet<String> = edges.iter().map(|(_, to, _)| to.clone()).collect();
    edges.extend(reached.difference(&left).map(|end| edge(end, OUTSIDE, "")));
    edges
}

/// The edges of each state diagram.
fn diagrams() -> Vec<BTreeSet<Edge>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md");
    let text = fs::read_to_string(path).expect("readable");
    let blocks = text.split("```mermaid\nstateDiagram-v2\n").skip(1);
    blocks.map(|block| block.lines().take_while(|line| *line != "```").flat_map(edges).collect()).collect()
}

/// `from --> to: by, by`; nothing for a line that names a state.
fn edges(line: &str) -> Vec<Edge> {
    let Some((from, rest)) = line.trim().split_once(" --> ") else { return Vec::new() };
    let (to, labels) = rest.split_once(": ").unwrap_or((rest, ""));
    labels.split(", ").map(|by| edge(from, to, by)).collect()
}
