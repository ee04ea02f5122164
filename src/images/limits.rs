//! How much an upload may ask of us.

use serde::{Deserialize, Serialize};

/// Bounds on one image set. The defaults suit a tiny set and a test set of some thousand images.
///
/// Limits on unpacked and decoded bytes grow with the bytes that were sent, beyond a fixed allowance: a ratio alone would
/// refuse small sets of dark or synthetic images, which compress by 1,000 to 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Entries in the archive or folder, folders included.
    pub entries: usize,
    /// Bytes of the archive itself.
    pub archive_bytes: u64,
    /// Bytes of one file, unpacked.
    pub entry_bytes: u64,
    /// Unpacked bytes of all files together: the memory of the set.
    pub total_bytes: u64,
    /// Unpacked bytes that every set may have.
    pub free_bytes: u64,
    /// Unpacked bytes that a set may have in addition, for each byte sent.
    pub unpacked_per_byte: u64,
    /// Width × height of one image, decoded or resized.
    pub pixels: u64,
    /// Width × height of all images together, according to their headers.
    pub set_pixels: u64,
    /// Bytes that every set may decode to. Decoding so many takes seconds.
    pub free_decoded_bytes: u64,
    /// Bytes that a set may decode to in addition, for each byte sent. Photographs take 5 to 100; JPEG and PNG end near 1,000, for
    /// images of one colour.
    pub decoded_per_byte: u64,
    /// Bytes of a labels file.
    pub labels_bytes: u64,
    /// Bytes of the float tensor that a set may become.
    pub tensor_bytes: u64,
}

impl Limits {
    /// Unpacked bytes that a set of `sent` bytes may have.
    pub fn unpacked(&self, sent: u64) -> u64 {
        self.free_bytes.saturating_add(self.unpacked_per_byte.saturating_mul(sent)).min(self.total_bytes)
    }

    /// Bytes that a set of `sent` bytes may decode to.
    pub fn decoded(&self, sent: u64) -> u64 {
        self.free_decoded_bytes.saturating_add(self.decoded_per_byte.saturating_mul(sent))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 20_000,
            archive_bytes: 1 << 30,
            entry_bytes: 64 << 20,
            total_bytes: 1 << 30,
            free_bytes: 512 << 20,
            unpacked_per_byte: 100,
            pixels: 50_000_000,
            set_pixels: 10_000_000_000,
            free_decoded_bytes: 512 << 20,
            decoded_per_byte: 600,
            labels_bytes: 8 << 20,
            tensor_bytes: 4 << 30,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_grow_with_the_bytes_sent_up_to_a_limit() {
        let limits = Limits::default();
        assert_eq!((limits.unpacked(0), limits.decoded(0)), (limits.free_bytes, limits.free_decoded_bytes));
        assert_eq!(limits.decoded(1_000_000), limits.free_decoded_bytes + 600_000_000);
        assert_eq!((limits.unpacked(u64::MAX), limits.decoded(u64::MAX)), (limits.total_bytes, u64::MAX));
    }
}
