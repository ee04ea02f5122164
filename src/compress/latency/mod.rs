//! Latency measured in a child process.
