//! In the place of the engine torch: this program has no libtorch, and nobody asks it for that.

use super::protocol::{Place, Values};
use crate::device::Device;

const NOT_HERE: &str = "practised-helper measures in ONNX Runtime only";

/// A network in torch, of which there is none.
pub(super) enum TorchRun {}

pub(super) fn version(_place: Place) -> Result<String, String> {
    Err(NOT_HERE.to_owned())
}

impl TorchRun {
    pub(super) fn open(_bytes: &[u8], _inputs: Vec<Values>, _device: Device) -> Result<Self, String> {
        Err(NOT_HERE.to_owned())
    }

    pub(super) fn run(&mut self) -> Result<(), String> {
        match *self {}
    }
}
