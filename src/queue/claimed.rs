//! A task that a worker holds.

use serde_json::json;

pub use crate::db::claims::Claim;

impl Claim {
    /// The claim as an event's detail.
    pub(super) fn detail(&self) -> serde_json::Value {
        let mut detail = json!({ "task": self.kind, "attempt": self.attempt });
        if let Some(block) = &self.block {
            detail["block"] = block.clone().into();
        }
        if self.crashes > 0 {
            detail["crashes"] = self.crashes.into();
        }
        detail
    }
}
