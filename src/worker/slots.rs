//! Which worker processes a host runs: one for each device slot.

use std::fs;
use std::str::FromStr;

use crate::exec::Device;

/// A place for one worker process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Device that it computes on.
    pub device: Device,
    /// CPU threads for computing.
    pub threads: usize,
}

/// `auto`, `0`, `cpu:2`, `cuda:0,cuda:1` …
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Workers {
    /// One for each GPU, or one for the CPU if there is none.
    Auto,
    /// These; no workers if empty.
    Devices(Vec<Device>),
}

impl FromStr for Workers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => return Ok(Self::Auto),
            "0" | "none" => return Ok(Self::Devices(Vec::new())),
            _ => {}
        }
        let mut devices = Vec::new();
        for part in text.split(',') {
            match part.strip_prefix("cpu:") {
                Some(count) => {
                    let count = count.parse().ok().filter(|count| (1..=256).contains(count));
                    devices.extend(vec![Device::Cpu; count.ok_or_else(|| expected(text))?]);
                }
                None => devices.push(part.parse().map_err(|_| expected(text))?),
            }
        }
        let twice =
            |device: &Device| *device != Device::Cpu && devices.iter().filter(|other| *other == device).count() > 1;
        match devices.iter().find(|device| twice(device)) {
            Some(device) => Err(format!("{device} is given twice; a GPU takes one worker")),
            None => Ok(Self::Devices(devices)),
        }
    }
}

fn expected(text: &str) -> String {
    format!("\"{text}\" is not a list of workers: write auto, 0, cpu, cpu:2 (two workers), or cuda:0,cuda:1")
}

impl Workers {
    /// The slots on a host with `cores` cores; they share the cores.
    pub fn slots(&self, cores: usize) -> Vec<Slot> {
        let devices = match self {
            Self::Auto => match gpus() {
                0 => vec![Device::Cpu],
                count => (0..count).map(Device::Cuda).collect(),
            },
            Self::Devices(devices) => devices.clone(),
        };
        let threads = (cores / devices.len().max(1)).max(1);
        devices.into_iter().map(|device| Slot { device, threads }).collect()
    }
}

/// GPUs that the driver shows and this installation's libtorch can use.
fn gpus() -> usize {
    if !crate::exec::cuda::installed() {
        return 0;
    }
    let devices = fs::read_dir("/dev").into_iter().flatten().flatten();
    let number = |name: &str| name.strip_prefix("nvidia").is_some_and(|rest| rest.parse::<u32>().is_ok());
    devices.filter(|entry| entry.file_name().to_str().is_some_and(number)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(text: &str, cores: usize) -> Vec<(String, usize)> {
        let workers: Workers = text.parse().expect("parses");
        workers.slots(cores).into_iter().map(|slot| (slot.device.to_string(), slot.threads)).collect()
    }

    #[test]
    fn workers_share_the_cores() {
        assert_eq!(slots("cpu:2", 8), [("cpu".to_owned(), 4), ("cpu".to_owned(), 4)]);
        assert_eq!(slots("cuda:0,cuda:1", 1), [("cuda:0".to_owned(), 1), ("cuda:1".to_owned(), 1)]);
        assert_eq!(slots("cpu", 3), [("cpu".to_owned(), 3)]);
        assert_eq!(slots("0", 3), []);
    }

    #[test]
    fn what_names_no_workers_says_what_does() {
        for text in ["", "two", "cpu:0", "cpu:x", "cuda:0,", "cpu:1000"] {
            let error = text.parse::<Workers>().expect_err(text);
            assert!(error.contains("cpu:2"), "{error}");
        }
        assert!("cuda:0,cuda:0".parse::<Workers>().expect_err("twice").contains("twice"));
    }
}
