//! A progress bar on a terminal, a line per phase elsewhere; always on stderr, so that stdout stays the result.

use std::io::IsTerminal;
use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressStyle};

use crate::compress::observer::Observer;
use crate::spec::phase::Phase;

/// Shows a job's progress.
pub struct Progress {
    bar: ProgressBar,
    phase: Mutex<Option<Phase>>,
}

impl Progress {
    /// On stderr.
    pub fn new() -> Self {
        let bar = if std::io::stderr().is_terminal() { ProgressBar::new(1) } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{msg:<9} {bar:30} {pos}/{len} {elapsed_precise}") {
            bar.set_style(style);
        }
        Self { bar, phase: Mutex::new(None) }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Observer for Progress {
    fn progress(&self, phase: Phase, done: u64, total: u64) {
        let mut last = self.phase.lock().expect("no panic while it is held");
        if last.replace(phase) != Some(phase) && self.bar.is_hidden() {
            eprintln!("practised: {}", phase.as_str());
        }
        self.bar.set_message(phase.as_str());
        self.bar.set_length(total);
        self.bar.set_position(done);
    }

    fn event(&self, kind: &str, detail: serde_json::Value) {
        self.bar.suspend(|| eprintln!("practised: {kind} {detail}"));
    }

    fn cancelled(&self) -> bool {
        false
    }
}
