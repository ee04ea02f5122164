//! CPU threads within one operator.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Environment of a program that computes: OpenMP's threads sleep while they wait for each other. By default they spin,
/// and where the cores are shared a spinning thread takes the time of the one that it waits for: two training threads on
/// two shared cores spent two thirds of their time so.
const PASSIVE: (&str, &str) = ("OMP_WAIT_POLICY", "PASSIVE");

/// Sets how many CPU threads torch uses within one operator, for the whole process.
pub fn set_threads(count: usize) {
    tch::set_num_threads(i32::try_from(count.max(1)).unwrap_or(i32::MAX));
}

/// How many CPU threads torch uses within one operator.
pub fn threads() -> usize {
    tch::get_num_threads().max(1) as usize
}

/// Makes this process's threads sleep while they wait, unless its environment has a word on that. OpenMP reads that word
/// when the program is loaded, so the program takes its own place once more: call this before anything else.
pub fn wait_passively() {
    if env::var_os(PASSIVE.0).is_some() {
        return;
    }
    let Ok(program) = env::current_exe() else { return };
    let mut again = Command::new(program);
    again.args(env::args_os().skip(1));
    start_passively(&mut again);
    // Returns only where it failed; then the threads spin, which is slower and nothing worse.
    let _ = again.exec();
}

/// Lets a program's threads sleep while they wait, from its start: [`wait_passively`] then has nothing to do there, and
/// libtorch is loaded once.
pub fn start_passively(command: &mut Command) {
    let (name, value) = PASSIVE;
    if env::var_os(name).is_none() {
        command.env(name, value);
    }
}

/// Lets a program wait as it would by itself, whatever was done to this one.
pub fn wait_as_by_default(command: &mut Command) {
    let (name, value) = PASSIVE;
    if env::var_os(name).is_some_and(|set| set == value) {
        command.env_remove(name);
    }
}
