//! `practised evaluate`: a student against its teacher on images, both in ONNX Runtime.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::compress::evaluate::{Evaluation, evaluate};
use crate::spec::inputs::{Value, Word};
use crate::spec::report::Figure;

use super::failure::{Failure, finish};
use super::files;
use super::table::Table;

/// Arguments of `practised evaluate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The original network.
    #[arg(value_name = "TEACHER.onnx")]
    teacher: PathBuf,
    /// The compressed network.
    #[arg(value_name = "STUDENT.onnx")]
    student: PathBuf,
    /// Images, as a zip or a folder.
    #[arg(long, value_name = "ZIP|DIR")]
    images: PathBuf,
    /// Labels: a CSV with the columns file and label.
    #[arg(long, value_name = "CSV")]
    labels: Option<PathBuf>,
    /// Preprocessing from image files to the networks' input, as in a job.
    #[arg(long, value_name = "FILE.json")]
    preprocess: Option<PathBuf>,
    /// Value of another input than the images: NAME=NUMBER, or NAME=NUMBER,NUMBER,… for the elements of one image; NAME=images
    /// selects the input that takes the images. Can be repeated.
    #[arg(long = "input", value_name = "NAME=NUMBERS", value_parser = given)]
    inputs: Vec<(String, Value)>,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// `age=0.5`, or `size=224,224`.
fn given(text: &str) -> Result<(String, Value), String> {
    let wrong = || format!("`{text}` is not NAME=NUMBER, NAME=NUMBER,NUMBER,… or NAME=images");
    let (name, numbers) = text.split_once('=').ok_or_else(wrong)?;
    if numbers == "images" {
        return Ok((name.to_owned(), Value::Word(Word::Images)));
    }
    let numbers: Vec<f64> =
        numbers.split(',').map(|n| n.trim().parse().map_err(|_| wrong())).collect::<Result<_, _>>()?;
    let value = if let [all] = numbers[..] { Value::All(all) } else { Value::Each(numbers) };
    Ok((name.to_owned(), value))
}

/// Runs `practised evaluate`.
pub fn run(args: Args) -> ExitCode {
    finish(compare(&args), args.json)
}

fn compare(args: &Args) -> Result<(), Failure> {
    let (teacher, student) = (files::read_model(&args.teacher)?, files::read_model(&args.student)?);
    let preprocess = files::read_preprocess(args.preprocess.as_deref())?;
    let images = files::read_images(&args.images, args.labels.as_deref())?;
    let evaluation = evaluate(&teacher, &student, &images, &preprocess, &args.inputs.iter().cloned().collect())?;
    if args.json {
        return files::print_json(&evaluation);
    }
    print(&evaluation);
    Ok(())
}

fn print(evaluation: &Evaluation) {
    let mut table = Table::new(&["", "value", "95 % interval"]);
    let mut share = |what: &str, figure: Option<Figure>| {
        if let Some(figure) = figure {
            let (low, high) = (figure.low.unwrap_or(figure.value), figure.high.unwrap_or(figure.value));
            let interval = format!("{:.1}–{:.1} %", 100.0 * low, 100.0 * high);
            table.row(vec![what.into(), format!("{:.2} %", 100.0 * figure.value), interval]);
        }
    };
    share("agreement", evaluation.agreement);
    share("top-1 teacher", evaluation.top1.map(|top1| top1.teacher));
    share("top-1 student", evaluation.top1.map(|top1| top1.student));
    table.row(vec!["output MSE".into(), format!("{:.4e}", evaluation.output_mse), String::new()]);
    if let Some(share) = evaluation.output_share {
        table.row(vec!["of a constant answer's".into(), format!("{share:.3e}"), String::new()]);
    }
    println!("{} images, {} of them labelled\n\n{table}", evaluation.images, evaluation.labelled);
}
