//! Where PostgreSQL's programs are.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::as_owner;
use super::error::{PrivatePostgresError, at};
use super::owner::Owner;

/// A folder with `postgres` and `initdb`.
#[derive(Debug, Clone)]
pub(super) struct Binaries {
    dir: PathBuf,
    /// Major version, such as `17`.
    major: String,
}

impl Binaries {
    /// The first folder that has them, in this order: `$PG_BIN_DIR`, Debian's (newest first), PATH, what `scripts/setup`
    /// fetched. For a cluster that is there already, the first one of its version.
    pub(super) fn find(data_version: Option<&str>, cluster: &Path) -> Result<Self, PrivatePostgresError> {
        let looked = candidates();
        let found: Vec<Binaries> = looked.iter().filter_map(|dir| Self::in_dir(dir)).collect();
        if found.is_empty() {
            return Err(PrivatePostgresError::NoBinaries { looked });
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

    /// These, or, where the owner cannot reach them (fetched into a private home, say), a copy in the data directory.
    pub(super) fn within_reach(self, owner: &Owner, data_dir: &Path) -> Result<Self, PrivatePostgresError> {
        let real = self.dir.canonicalize().map_err(at(&self.dir))?;
        if owner.first_obstacle(&real).is_none() {
            return Ok(self);
        }
        let copy = data_dir.join(format!("postgres-{}", self.major));
        if !copy.join("bin/initdb").exists() {
            let half = data_dir.join(format!("postgres-{}.half", self.major));
            let prefix = real.parent().unwrap_or(&real);
            let copied = Command::new("cp").arg("-rL").arg(prefix).arg(&half).status();
            match copied {
                Ok(status) if status.success() => fs::rename(&half, &copy).map_err(at(&copy))?,
                Ok(status) => {
                    // A half-made copy would be taken for a folder to copy into the next time.
                    let _ = fs::remove_dir_all(&half);
                    let said = format!("copying {} to where {} can reach it", prefix.display(), owner.name());
                    return Err(PrivatePostgresError::Failed {
                        program: "cp".into(),
                        status: status.to_string(),
                        said,
                    });
                }
                Err(error) => return Err(at(prefix)(error)),
            }
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

/// `postgres (PostgreSQL) 17.6 (Debian …)` → `17`.
fn major(version: &str) -> Option<String> {
    let number = version.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    Some(number.split(|c: char| !c.is_ascii_digit()).next()?.to_owned())
}

fn candidates() -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> = env::var_os("PG_BIN_DIR").map(PathBuf::from).into_iter().collect();
    dirs.extend(debian());
    dirs.extend(env::var_os("PATH").iter().flat_map(env::split_paths).filter(|dir| dir.join("postgres").exists()));
    dirs.push(PathBuf::from(env!("PRACTISED_POSTGRES")));
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
