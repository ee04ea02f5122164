//! `practised drop`: a network without some of its blocks, nothing recovered. For `make zoo`.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::failure::{Failure, finish};
use crate::cli::files;
use crate::compress::file::to_onnx;
use crate::compress::student::Student;
use crate::exec::Device;
use crate::network::Network;

/// Arguments of `practised drop`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The network.
    #[arg(value_name = "MODEL.onnx")]
    model: PathBuf,
    /// Name of a block to drop, as `practised check` lists it.
    #[arg(long = "block", value_name = "NAME", required = true)]
    blocks: Vec<String>,
    /// The file to write.
    #[arg(long, value_name = "FILE.onnx")]
    out: PathBuf,
}

/// Runs `practised drop`.
pub fn run(args: Args) -> ExitCode {
    finish(drop(&args), false)
}

fn drop(args: &Args) -> Result<(), Failure> {
    let network = Network::load(&files::read_model(&args.model)?)?;
    let blocks = args.blocks.iter().map(|name| network.block(name)).collect::<Result<Vec<_>, _>>()?;
    if let Some((block, reason)) = blocks.iter().find_map(|block| Some((block, block.reason.as_ref()?))) {
        return Err(Failure::input("block_not_droppable", format!("{}: {reason}", block.name)));
    }
    let student = Student::dropped(&network, &blocks, Device::Cpu)?;
    files::write(&args.out, &to_onnx(&network, &blocks, &student, &[])?)
}
