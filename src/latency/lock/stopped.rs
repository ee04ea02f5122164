//! Finds the holders of a lock file, and whether all of them are stopped.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;

/// True if at least one process holds a lock on this file, and all holders are stopped (SIGSTOP, Ctrl-Z, a debugger).
///
/// The kernel lists the processes that this one can see. On file systems whose inode numbers differ from those it lists (some
/// overlays), it lists none.
pub(super) fn all_holders(file: &File) -> io::Result<bool> {
    let locks = fs::read_to_string("/proc/locks")?;
    let mut holders = holders(&locks, file.metadata()?.ino()).peekable();
    Ok(holders.peek().is_some() && holders.all(is_stopped))
}

/// The holders, from lines as `1: FLOCK  ADVISORY  READ 10451 fe:00:10010667 0 EOF`. The device is not compared, because
/// subvolumes have other numbers than their file systems: a file with the same number elsewhere only adds holders.
fn holders(locks: &str, inode: u64) -> impl Iterator<Item = &str> {
    locks.lines().filter_map(move |line| match line.split_whitespace().collect::<Vec<_>>()[..] {
        [_, "FLOCK", _, _, pid, place, ..] if place.rsplit(':').next()?.parse() == Ok(inode) => Some(pid),
        _ => None,
    })
}

/// A process that cannot be found is not known to be stopped.
fn is_stopped(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Behind the name, which can contain anything.
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    matches!(state, Some('T' | 't'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holders_are_those_of_the_file_and_no_others() {
        let locks = "1: FLOCK  ADVISORY  READ 10451 fe:00:667 0 EOF\n\
                     2: POSIX  ADVISORY  WRITE 77 fe:00:667 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 78 fe:00:667 0 EOF\n\
                     3: FLOCK  ADVISORY  READ 12 fe:00:1667 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 13 00:2a:667 0 EOF\n\
                     broken\n";
        assert_eq!(holders(locks, 667).collect::<Vec<_>>(), ["10451", "13"]);
        assert_eq!(holders(locks, 1).count(), 0);
    }

    #[test]
    fn a_process_that_runs_and_one_that_is_not_there_are_not_stopped() {
        assert!(!is_stopped(&std::process::id().to_string()));
        assert!(!is_stopped("0") && !is_stopped("-1"));
    }
}
