//! Lists by cursor: ids sort by time, so the last id of a page is where the next one begins.

use uuid::Uuid;

/// Which part of a list is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Only rows behind this id.
    pub after: Option<Uuid>,
    /// At most this many.
    pub limit: i64,
    /// From which end.
    pub order: Order,
}

/// From which end a list starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    Ascending,
    /// Newest first.
    #[default]
    Descending,
}

impl Page {
    pub(super) fn descending(&self) -> bool {
        self.order == Order::Descending
    }
}
