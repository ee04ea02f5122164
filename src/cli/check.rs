//! `practised check`: a network's blocks, droppable or why not, and every unsupported operator.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::compress::analyse::{Analysis, analyse};
use crate::compress::companions::CompanionInfo;

use super::failure::{Failure, finish};
use super::table::Table;

/// Arguments of `practised check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The network.
    #[arg(value_name = "MODEL.onnx")]
    model: PathBuf,
    /// JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// Runs `practised check`. A network without a droppable block is not at fault for being looked at: exit code 0.
pub fn run(args: Args) -> ExitCode {
    super::end_with_the_reader();
    finish(check(&args), args.json)
}

fn check(args: &Args) -> Result<(), Failure> {
    let bytes = super::files::read(&args.model)?;
    let analysis = analyse(&bytes)?;
    if args.json {
        return super::files::print_json(&analysis);
    }
    print(&analysis);
    Ok(())
}

fn print(analysis: &Analysis) {
    for (what, interfaces) in [("input", &analysis.inputs), ("output", &analysis.outputs)] {
        for interface in interfaces {
            println!("{what} {} {} ({})", interface.name, interface.dtype, interface.shape.join(", "));
        }
    }
    for companion in &analysis.other_inputs {
        let CompanionInfo { name, needs_value, elements, .. } = companion;
        match needs_value {
            true => {
                println!("beside the images a job has to say what {name} is fed: one number, or {elements} of them")
            }
            false => {
                println!("{name} takes the images of {} mirrored, unless a job says otherwise", analysis.image_input)
            }
        }
    }
    println!("opset {}, {} parameters, {} MACs for one image", analysis.opset, analysis.parameters, analysis.macs);
    println!("feature tap {}", analysis.feature_tap);
    let mut table = Table::new(&["block", "kind", "droppable", "MACs", "parameters", "why not"]);
    for block in &analysis.blocks {
        table.row(vec![
            block.name.clone(),
            block.kind.clone(),
            if block.droppable { "yes" } else { "no" }.into(),
            block.macs.to_string(),
            block.parameters.to_string(),
            match (&block.reason, block.also.as_slice()) {
                (Some(reason), _) => reason.clone(),
                (None, []) => String::new(),
                (None, also) => format!("(same weights as {}: all go or none)", also.join(", ")),
            },
        ]);
    }
    println!("\n{table}");
    let droppable = analysis.blocks.iter().filter(|block| block.droppable).count();
    println!("{droppable} droppable blocks of {} residual additions", analysis.blocks.len());
}
