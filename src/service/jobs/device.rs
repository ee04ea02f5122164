//! What a job may be computed on, as its body says, and whether the pool has it.

use std::str::FromStr;

use serde::Serialize;

use crate::db::workers::DeviceRow;

/// Most characters of a device.
const LONGEST: usize = 64;

/// A class of devices (`cpu`, `cuda`), one device (`cuda:0`), or a part of a GPU's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted(String);

/// Something about a job that was accepted and is worth a sentence.
#[derive(Debug, Clone, Serialize)]
pub struct Notice {
    /// For programs.
    pub code: &'static str,
    /// For people.
    pub detail: String,
}

impl FromStr for Wanted {
    type Err = &'static str;

    /// Classes and devices are read in any case and kept as workers write them.
    fn from_str(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        let lower = text.to_ascii_lowercase();
        match lower.split_once(':') {
            _ if text.is_empty() => Err("the name is empty"),
            _ if text.chars().count() > LONGEST => Err("the name is longer than 64 characters"),
            _ if text.chars().any(char::is_control) => Err("the name contains a control character"),
            Some(("cuda", number)) => match number.parse::<u16>() {
                Ok(number) => Ok(Self(format!("cuda:{number}"))),
                Err(_) => Err("GPUs are numbered from 0, as in cuda:0"),
            },
            Some(("cpu", _)) => Err("the CPU takes no index; write cpu"),
            None if ["cpu", "cuda"].contains(&lower.as_str()) => Ok(Self(lower)),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

impl Wanted {
    /// What is taken.
    pub(super) const FORMS: &str =
        "\"cpu\", \"cuda\", \"cuda:0\", or a part of a GPU's name, such as \"H100\"; null takes any";

    /// As it is stored.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a worker may take the job, by the rule that a claim goes by ([`crate::db::claims`]).
    fn is_met_by(&self, worker: &DeviceRow) -> bool {
        let class = worker.device.split(':').next().unwrap_or_default();
        let named = |name: &String| name.to_lowercase().contains(&self.0.to_lowercase());
        self.0 == worker.device || self.0 == class || worker.device_name.as_ref().is_some_and(named)
    }

    /// What the customer should know if none of the workers that live may take the job.
    pub(super) fn missing_from(&self, live: &[DeviceRow]) -> Option<Notice> {
        if live.iter().any(|worker| self.is_met_by(worker)) {
            return None;
        }
        let mut there: Vec<&str> =
            live.iter().map(|worker| worker.device_name.as_deref().unwrap_or(&worker.device)).collect();
        there.sort_unstable();
        there.dedup();
        let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        let detail = format!(
            "no worker has a device {:?}, so the job waits until one has, or until its deadline. Available devices: {there}. A \
             device is {}",
            self.0,
            Self::FORMS
        );
        Some(Notice { code: "no_such_device", detail })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_and_numbers_are_read_in_any_case_and_names_are_kept() {
        let cases = [
            (" CPU ", "cpu"),
            ("Cuda", "cuda"),
            ("CUDA:07", "cuda:7"),
            ("H100", "H100"),
            ("NVIDIA H100 80GB", "NVIDIA H100 80GB"),
        ];
        for (text, kept) in cases {
            assert_eq!(text.parse::<Wanted>().expect("read").as_str(), kept);
        }
        for wrong in ["", "  ", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "H\0", "a\nb", &"x".repeat(65)] {
            assert!(wrong.parse::<Wanted>().is_err(), "{wrong:?}");
        }
    }
}
