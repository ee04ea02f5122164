//! What these commands work on: a network, images and the body of a job.

use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::cli::failure::Failure;
use crate::cli::files;
use crate::cli::progress::Progress;
use crate::compress::CompressError;
use crate::compress::pipeline::Bench;
use crate::exec::{self, Device};
use crate::latency::Probe;
use crate::spec::config;

/// A network, images and the body of a job.
#[derive(Debug, clap::Args)]
pub struct JobFiles {
    /// The network.
    #[arg(value_name = "MODEL.onnx")]
    model: PathBuf,
    /// A few unlabelled images, as a zip or a folder.
    #[arg(long, value_name = "ZIP|DIR")]
    images: PathBuf,
    /// The body of a job.
    #[arg(long, value_name = "FILE.json")]
    job: PathBuf,
}

impl JobFiles {
    /// Reads all three and opens the job on a device, with as many threads as usual.
    ///
    /// # Errors
    /// What is wrong with a file, or with the network and the images for this job.
    pub fn open(&self, device: Device, progress: &Progress) -> Result<Bench, Failure> {
        let model = files::read_model(&self.model)?;
        let body: Map<String, Value> = files::read_json(&self.job)?;
        let config = config::parse(&body, &[])?;
        let images = files::read_images(&self.images, None)?;
        let probe = Probe::current(device).map_err(CompressError::from)?;
        exec::set_threads(exec::usual_threads());
        Ok(Bench::open(&model, Some(&images), &config, device, probe, progress)?)
    }
}
