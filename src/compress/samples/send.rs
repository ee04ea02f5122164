//! From the host to where a training computes.

use tch::{Device, Tensor};

use crate::compress::CompressError;

/// A tensor of the host on a device, without waiting for what the device has still to do. The host's memory may be used again at
/// once: CUDA copies pageable memory before the call returns.
pub fn send(tensor: &Tensor, device: Device) -> Result<Tensor, CompressError> {
    Ok(tensor.f_to_device_(device, tensor.f_kind()?, true, false)?)
}
