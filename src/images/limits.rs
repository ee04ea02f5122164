//! How much an upload may ask of us.

/// Bounds on one image set. The defaults suit a tiny set and a test set of some thousand images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Entries in the archive or folder, folders included.
    pub entries: usize,
    /// Bytes of the archive itself.
    pub archive_bytes: u64,
    /// Bytes of one file, unpacked.
    pub entry_bytes: u64,
    /// Bytes of all files together, unpacked: what the set holds in memory.
    pub total_bytes: u64,
    /// Unpacked bytes per packed byte beyond which a file of more than [`Limits::RATIO_FROM`] bytes is a zip bomb.
    /// Photographs hardly pack at all; deflate ends at 1,032.
    pub ratio: u64,
    /// Width × height of one image, decoded or resized.
    pub pixels: u64,
    /// Width × height of all images together, as their headers have it: they are decoded one after the other, and a file of a few
    /// kilobytes may hold as many pixels as one image may have.
    pub set_pixels: u64,
    /// Bytes of a labels file.
    pub labels_bytes: u64,
    /// Bytes of the float tensor that a set may become.
    pub tensor_bytes: u64,
}

impl Limits {
    /// Files smaller than this may pack as well as they like: a small bitmap of one colour is no bomb.
    pub const RATIO_FROM: u64 = 1 << 20;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 20_000,
            archive_bytes: 1 << 30,
            entry_bytes: 64 << 20,
            total_bytes: 1 << 30,
            ratio: 100,
            pixels: 50_000_000,
            set_pixels: 10_000_000_000,
            labels_bytes: 8 << 20,
            tensor_bytes: 4 << 30,
        }
    }
}
