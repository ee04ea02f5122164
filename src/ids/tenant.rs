//! Whose a row is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest name.
const LONGEST: usize = 63;

/// Name of a tenant: a customer, all of whose keys open the same models, image sets and jobs.
///
/// A type of its own, so that a query that is to be about one tenant's rows cannot be asked without saying whose.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tenant(String);

/// Why a text names no tenant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a valid tenant name: use 1 to 63 of a-z, 0-9, - and _, and start with a letter or a digit")]
pub struct BadTenant(String);

impl Tenant {
    /// Who asks without a key, where none is needed.
    pub fn local() -> Self {
        Self("local".to_owned())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tenant {
    type Err = BadTenant;

    fn from_str(text: &str) -> Result<Self, BadTenant> {
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let begins = text.starts_with(word);
        let fits = text.len() <= LONGEST && text.chars().all(|c| word(c) || c == '-' || c == '_');
        if begins && fits { Ok(Self(text.to_owned())) } else { Err(BadTenant(text.to_owned())) }
    }
}

impl TryFrom<String> for Tenant {
    type Error = BadTenant;

    fn try_from(text: String) -> Result<Self, BadTenant> {
        text.parse()
    }
}

impl From<Tenant> for String {
    fn from(tenant: Tenant) -> Self {
        tenant.0
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_fits_into_a_path_and_a_label() {
        for good in ["local", "a", "acme-2", "0_0", &"x".repeat(63)] {
            assert_eq!(good.parse::<Tenant>().expect("a name").as_str(), good);
        }
        for bad in ["", "-a", "_a", "Acme", "a b", "a/b", "ä", &"x".repeat(64)] {
            assert!(bad.parse::<Tenant>().is_err(), "{bad:?}");
        }
    }
}
