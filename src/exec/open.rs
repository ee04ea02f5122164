//! A device made ready to compute on.

use super::cuda;
use super::device::Device;
use super::error::ExecError;

impl Device {
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
