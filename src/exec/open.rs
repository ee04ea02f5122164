//! A device made ready to compute on, and what its driver says of it.

use super::cuda;
use super::device::Device;
use super::error::ExecError;

impl Device {
    /// A GPU's name from its driver, such as `NVIDIA H100 80GB HBM3`; `None` for the CPU, or if it is unknown.
    pub fn name(self) -> Option<String> {
        match self {
            Self::Cpu => None,
            Self::Cuda(index) => cuda::name(index),
        }
    }

    /// The version of a GPU's driver, such as `580.159.04`; none for the CPU, or where nobody tells.
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

    /// Makes the device ready and gives torch's name for it.
    ///
    /// Errors if there is no such GPU, or this installation has no CUDA libraries.
    pub fn open(self) -> Result<tch::Device, ExecError> {
        // For tests: a device that does not open, from the start or later.
        fail::fail_point!("open", |_| Err(ExecError::Device {
            device: self,
            detail: "no such device (injected)".to_owned()
        }));
        match self {
            Self::Cpu => Ok(tch::Device::Cpu),
            Self::Cuda(index) => {
                cuda::load().map_err(|detail| ExecError::Device { device: self, detail })?;
                match tch::Cuda::device_count() {
                    count if (index as i64) < count => Ok(tch::Device::Cuda(index)),
                    count => {
                        Err(ExecError::Device { device: self, detail: format!("this machine shows {count} CUDA GPUs") })
                    }
                }
            }
        }
    }
}
