//! The measuring process, without the engine torch.

#[path = "../latency/child.rs"]
pub mod child;
#[path = "../latency/clock.rs"]
mod clock;
#[path = "../latency/protocol.rs"]
mod protocol;
#[path = "../latency/runner.rs"]
mod runner;
#[path = "no_torch.rs"]
mod torch;
