//! Halving of batches if a device is out of memory, and the meaning of torch's messages about devices.

use std::cell::Cell;

thread_local! {
    static PARTS: Cell<usize> = const { Cell::new(1) };
}

/// In how many parts a batch is computed on this thread, one after the other: 1 unless memory ran out.
pub fn parts() -> usize {
    PARTS.get()
}

/// So much of a batch as is computed at a time, one image at least.
pub fn part_of(batch: usize) -> usize {
    (batch / parts()).max(1)
}

/// Runs `work` with batches in so many parts.
pub fn in_parts<T>(parts: usize, work: impl FnOnce() -> T) -> T {
    let _restored = Restored(PARTS.replace(parts.max(1)));
    work()
}

/// Puts the number back however the work ends.
struct Restored(usize);

impl Drop for Restored {
    fn drop(&mut self) {
        PARTS.set(self.0);
    }
}

/// What is wrong with the device rather than with what was computed on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It is out of memory; with a smaller batch it can continue.
    OutOfMemory,
    /// From here on it fails whatever it is asked for, as long as this process lives: CUDA's errors stay.
    Lost,
    /// The device, or ONNX Runtime, could not be opened.
    Unusable,
}

/// What torch's allocators say, on the CPU and on CUDA, and CUDA's libraries where they get no memory.
const NO_MEMORY: [&str; 4] =
    ["out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED"];

/// Messages of CUDA and its libraries after a failed kernel.
const LOST: [&str; 4] = ["CUDA error", "cuDNN error", "CUBLAS_STATUS_", "CUDNN_STATUS_"];

/// What a message of torch says about the device, if it does.
pub fn trouble(message: &str) -> Option<Trouble> {
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&NO_MEMORY) { Some(Trouble::OutOfMemory) } else { says(&LOST).then_some(Trouble::Lost) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_hold_for_the_work_alone_however_it_ends() {
        assert_eq!((parts(), part_of(10)), (1, 10));
        in_parts(4, || assert_eq!((parts(), part_of(10), part_of(2)), (4, 2, 1)));
        let panicked = std::panic::catch_unwind(|| in_parts(4, || panic!("no memory")));
        assert!(panicked.is_err());
        assert_eq!(parts(), 1);
    }

    #[test]
    fn a_message_tells_a_full_device_from_a_lost_one() {
        let full = [
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.19 GiB",
            "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to",
            "CUDA error: out of memory",
            "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        ];
        assert!(full.iter().all(|message| trouble(message) == Some(Trouble::OutOfMemory)));
        let lost = [
            "CUDA error: an illegal memory access was encountered",
            "CUDA error: device-side assert triggered",
            "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
        ];
        assert!(lost.iter().all(|message| trouble(message) == Some(Trouble::Lost)));
        assert_eq!(trouble("The size of tensor a (3) must match the size of tensor b (4)"), None);
    }
}
