//! The binary at work in a folder of its own.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::networks::TinyResNet;
use super::uploads::image_zip;

/// `practised compress` in a [`Desk`], with everything that lies there.
pub const COMPRESS: [&str; 9] =
    ["compress", "model.onnx", "--images", "images.zip", "--job", "job.json", "--out", "out", "--json"];

/// A folder with a network, images and a job in it.
pub struct Desk {
    folder: TempDir,
}

impl Desk {
    pub fn new(net: &TinyResNet) -> Self {
        let desk = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        desk.put("model.onnx", &net.bytes());
        desk.put("images.zip", &image_zip(24, net.pixels as u32));
        desk.put("job.json", desk.job().to_string().as_bytes());
        desk
    }

    /// Few steps, everything else as a customer gets it who asks for nothing.
    pub fn job(&self) -> Value {
        json!({"recoverability": {"iterations": 5}, "finetune": {"steps": 10}, "target": {"blocks": 1}, "seed": 3,
            "latency": {"rounds": 4}})
    }

    pub fn put(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path().join(name), bytes).expect("writes");
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_practised"));
        // A temporary folder of its own: the lock on the host for measuring is there, and tests do not wait for each other.
        command.args(args).current_dir(self.path()).env("TMPDIR", self.path()).output().expect("the binary runs")
    }

    pub fn json(&self, args: &[&str]) -> Value {
        let output = self.run(args);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON on stdout")
    }

    /// Exit code and what was said.
    pub fn refused(&self, args: &[&str]) -> (i32, String) {
        let output = self.run(args);
        (output.status.code().expect("an exit code"), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
