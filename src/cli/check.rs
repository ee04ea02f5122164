//! `practised check`: a network's blocks, droppable or why not, and every unsupported operator.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::network::analyse::analyse;
use crate::spec::analysis::Analysis;
use crate::spec::inputs::SideInputInfo;

use super::failure::{Failure, finish};
use super::table::Table;

/// Arguments of `practised check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The network.
    #[arg(value_name = "MODEL.onnx")]
    model: PathBuf,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// Runs `practised check`. A network without a droppable block is not an error: exit code 0.
pub fn run(args: Args) -> ExitCode {
    super::end_with_the_reader();
    finish(check(&args), args.json)
}

fn check(args: &Args) -> Result<(), Failure> {
    let bytes = super::files::read_model(&args.model)?;
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
        println!("{}", told(companion, &analysis.image_input));
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
                (None, also) => format!("(same weights as {}: all are dropped or none)", also.join(", ")),
            },
        ]);
    }
    println!("\n{table}");
    let droppable = analysis.blocks.iter().filter(|block| block.droppable).count();
    println!("{droppable} droppable blocks of {} residual additions", analysis.blocks.len());
}

/// Describes the value of another input than the images.
fn told(companion: &SideInputInfo, image: &str) -> String {
    let SideInputInfo { name, needs_value, elements, of_images_size, may_take_images, unused, .. } = companion;
    let instead = if *may_take_images {
        format!(", or give it the images: \"inputs\": {{\"{name}\": \"images\"}}")
    } else {
        String::new()
    };
    match (needs_value, of_images_size) {
        _ if *unused => format!("{name} is not read by any node, so it is fed zeros"),
        (true, true) => {
            format!("a job must give a value for the input {name}: one number, used for all elements{instead}")
        }
        (true, false) => {
            format!("a job must give a value for the input {name}: one number, or {elements} numbers{instead}")
        }
        (false, _) => format!("{name} is fed the images of {image}, mirrored, unless the job sets it"),
    }
}
