//! Where a network runs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::cuda;

/// A device to compute on: `cpu` or `cuda:N`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// The N-th CUDA GPU that the process sees.
    Cuda(usize),
}

/// A device name that is neither `cpu` nor `cuda:N`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a device: write \"cpu\" or \"cuda:N\", such as \"cuda:0\"")]
pub struct UnknownDevice(String);

impl Device {
    /// A GPU's name from its driver, such as `NVIDIA H100 80GB HBM3`; `None` for the CPU, or if it is unknown.
    pub fn name(self) -> Option<String> {
        match self {
            Self::Cpu => None,
            Self::Cuda(index) => cuda::name(index),
        }
    }

    /// The version of a GPU's driver, such as `580.159.04`; `None` for the CPU, or if it is unknown.
    pub fn driver(self) -> Option<String> {
        match self {
            Self::Cpu => None,
            Self::Cuda(_) => cuda::driver(),
        }
    }

    /// Waits until everything queued on the device is done; nothing to wait for on the CPU.
    pub fn synchronize(self) {
        if let Self::Cuda(index) = self {
            tch::Cuda::synchronize(index as i64);
        }
    }
}

impl FromStr for Device {
    type Err = UnknownDevice;

    fn from_str(text: &str) -> Result<Self, UnknownDevice> {
        let gpu = |text: &str| text.strip_prefix("cuda:").and_then(|index| index.parse().ok()).map(Self::Cuda);
        match text {
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            other => gpu(other).ok_or_else(|| UnknownDevice(other.to_owned())),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl Serialize for Device {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Device {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names_parse_and_print_alike() {
        for name in ["cpu", "cuda:0", "cuda:12"] {
            assert_eq!(name.parse::<Device>().unwrap().to_string(), name);
        }
        assert_eq!("cuda".parse(), Ok(Device::Cuda(0)));
    }

    #[test]
    fn other_names_say_what_to_write() {
        for name in ["gpu", "cuda:", "cuda:x", "cuda:-1", "CPU", ""] {
            let error = name.parse::<Device>().unwrap_err().to_string();
            assert!(error.contains("\"cpu\" or \"cuda:N\""), "{error}");
        }
    }
}
