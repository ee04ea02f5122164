//! Finds PostgreSQL's programs.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::{PrivatePostgresError, at};
use super::owner::Owner;
use super::{as_owner, last_lines};

/// Where `scripts/setup` puts PostgreSQL on machines without one.
const FETCHED: &str = env!("PRACTISED_POSTGRES");

/// A folder with `postgres` and `initdb`.
#[derive(Debug, Clone)]
pub(super) struct Binaries {
    dir: PathBuf,
    /// Major version, such as `17`.
    major: String,
}

impl Binaries {
    /// The first folder that has them, in this order: `$PG_BIN_DIR`, Debian's (newest first), PATH, what `scripts/setup`
    /// fetched. For an existing cluster, the first one of its version. Programs that the owner cannot reach are passed
    /// over, except for what `scripts/setup` fetched, which [`Self::within_reach`] copies.
    pub(super) fn find(
        data_version: Option<&str>,
        cluster: &Path,
        owner: &Owner,
    ) -> Result<Self, PrivatePostgresError> {
        let looked = candidates();
        let usable = |binaries: &Binaries| binaries.dir == Path::new(FETCHED) || owner.reaches(&binaries.dir);
        let found: Vec<Binaries> = looked.iter().filter_map(|dir| Self::in_dir(dir)).filter(usable).collect();
        if found.is_empty() {
            return Err(PrivatePostgresError::NoBinaries { looked, user: owner.name().to_owned() });
        }
        let fits = |binaries: &&Binaries| data_version.is_none_or(|version| version == binaries.major);
        if let Some(fitting) = found.iter().find(fits) {
            return Ok(fitting.clone());
        }
        let found = found.iter().map(|binaries| binaries.major.as_str()).collect::<Vec<_>>().join(", ");
        let data = data_version.unwrap_or_default().to_owned();
        Err(PrivatePostgresError::OtherVersion { dir: cluster.to_owned(), data, found })
    }

    fn in_dir(dir: &Path) -> Option<Self> {
        let output = Command::new(dir.join("postgres")).arg("--version").output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let major = major(&text)?;
        dir.join("initdb").exists().then(|| Self { dir: dir.to_owned(), major })
    }

    /// These programs, or a copy in the data directory if the owner cannot reach them.
    pub(super) fn within_reach(self, owner: &Owner, data_dir: &Path) -> Result<Self, PrivatePostgresError> {
        if owner.reaches(&self.dir) {
            return Ok(self);
        }
        let copy = data_dir.join(format!("postgresql-{}", self.major));
        if !copy.join("bin/initdb").exists() {
            // The whole installation: the programs find their libraries and files relative to themselves.
            let installation = self.dir.parent().unwrap_or(&self.dir);
            let installation = installation.canonicalize().map_err(at(installation))?;
            copy_whole(&installation, &copy)?;
        }
        Ok(Self { dir: copy.join("bin"), major: self.major })
    }

    /// Path of a program.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A command that runs a program as the owner.
    pub(super) fn command(&self, name: &str, owner: &Owner) -> Command {
        let mut command = Command::new(self.program(name));
        as_owner(&mut command, owner);
        command
    }
}

/// Copies a folder to a temporary name next to the target, and renames it when it is complete.
fn copy_whole(from: &Path, to: &Path) -> Result<(), PrivatePostgresError> {
    let half = to.with_extension("half");
    if half.exists() {
        fs::remove_dir_all(&half).map_err(at(&half))?;
    }
    let output = Command::new("cp").arg("-a").arg(from).arg(&half).output().map_err(at(from))?;
    if output.status.success() {
        return fs::rename(&half, to).map_err(at(to));
    }
    let said = last_lines(&String::from_utf8_lossy(&output.stderr));
    Err(PrivatePostgresError::Failed { program: "cp".into(), status: output.status.to_string(), said })
}

/// `postgres (PostgreSQL) 17.6 (Debian …)` → `17`.
fn major(version: &str) -> Option<String> {
    let number = version.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    Some(number.split(|c: char| !c.is_ascii_digit()).next()?.to_owned())
}

fn candidates() -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> = env::var_os("PG_BIN_DIR").map(PathBuf::from).into_iter().collect();
    dirs.extend(debian());
    dirs.extend(env::var_os("PATH").iter().flat_map(env::split_paths).filter(|dir| dir.join("postgres").exists()));
    dirs.push(PathBuf::from(FETCHED));
    dirs
}

/// `/usr/lib/postgresql/*/bin`, newest first.
fn debian() -> Vec<PathBuf> {
    let entries = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    versions.into_iter().map(|(_, dir)| dir).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_what_postgres_says() {
        assert_eq!(major("postgres (PostgreSQL) 17.6 (Debian 17.6-0+deb13u1)").as_deref(), Some("17"));
        assert_eq!(major("postgres (PostgreSQL) 18beta1").as_deref(), Some("18"));
        assert_eq!(major("something else"), None);
    }
}
