//! What the stories share: tiny networks, images, a running service.

pub mod cluster;
pub mod database;
pub mod desk;
pub mod networks;
pub mod raw;
pub mod residual;
pub mod scene;
pub mod service;
pub mod tokens;
pub mod uploads;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use tch::Tensor;
use tempfile::TempDir;

/// Normal numbers that depend on the seed alone, not on what other tests draw.
pub fn noise(size: &[i64], seed: u64) -> Tensor {
    use rand::{Rng, SeedableRng};
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let count: i64 = size.iter().product();
    let mut uniform = || f64::from(random.random::<f32>()).max(1e-7);
    let values: Vec<f32> = (0..count)
        .map(|_| ((-2.0 * uniform().ln()).sqrt() * (2.0 * std::f64::consts::PI * uniform()).cos()) as f32)
        .collect();
    Tensor::from_slice(&values).view(size)
}

/// A temporary folder that other users can pass: started by root, the service runs PostgreSQL as somebody else.
pub fn reachable_folder() -> TempDir {
    tempfile::Builder::new()
        .prefix("practised-")
        .permissions(Permissions::from_mode(0o755))
        .tempdir()
        .expect("a folder")
}
