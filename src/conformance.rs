//! The executor on cases in the layout of ONNX's backend tests: what `practised conformance` runs.
//!
//! A case is a folder with `model.onnx` and, for each run, `test_data_set_*/input_*.pb` and `output_*.pb`
//! (<https://onnx.ai/onnx/repo-docs/OnnxBackendTest.html>).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tch::{Kind, Tensor};

use crate::exec::{self, Device, Executor, Params, RunOptions};
use crate::graph::{Graph, InputShapes, fold, free_batch};
use crate::onnx;

/// How a case is run, and the allowed errors.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    /// Allowed error relative to the expected value.
    pub rtol: f64,
    /// Allowed absolute error in addition.
    pub atol: f64,
    /// Allowed error in addition, relative to the output's largest element.
    pub of_scale: f64,
    /// Whether the network is run as in a job: with a dynamic batch, constants folded, shapes inferred.
    pub folded: bool,
    /// Device to compute on.
    pub device: Device,
}

/// The result of a case.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// The folder's name.
    pub case: String,
    /// Operators of the network, each once.
    pub operators: BTreeSet<String>,
    /// Whether it passed.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// Whether a case passed.
#[derive(Debug, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Verdict {
    /// Every output is within the allowed error.
    Passed {
        /// The largest difference, relative to the expected output's largest element.
        error: f64,
    },
    /// Refused before anything was computed.
    NotSupported {
        /// The reason.
        detail: String,
    },
    /// The case failed.
    Failed {
        /// The cause.
        detail: String,
    },
}

/// Runs one case; half precisions are widened, as everywhere.
pub fn outcome(case: &Path, wish: &Wish) -> Outcome {
    tch::no_grad(|| outcome_of(case, wish))
}

fn outcome_of(case: &Path, wish: &Wish) -> Outcome {
    let name = case.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let ended = |operators: BTreeSet<String>, verdict| Outcome { case: name.clone(), operators, verdict };
    let bytes = match fs::read(case.join("model.onnx")) {
        Ok(bytes) => bytes,
        Err(error) => return ended(BTreeSet::new(), Verdict::Failed { detail: format!("model.onnx: {error}") }),
    };
    match onnx::decode(&bytes) {
        Ok(model) => {
            let operators = model.graph.nodes.iter().map(|node| node.op.clone()).collect();
            ended(operators, verdict(case, model.graph, wish))
        }
        Err(error) => ended(BTreeSet::new(), Verdict::NotSupported { detail: error.to_string() }),
    }
}

fn verdict(case: &Path, graph: Graph, wish: &Wish) -> Verdict {
    let graph = match wish.folded {
        true => fold(&free_batch(&graph), &InputShapes::new()).map_err(|error| error.to_string()),
        false => Ok(graph),
    };
    let planned = match graph.and_then(|graph| Planned::of(&graph, wish)) {
        Ok(planned) => planned,
        Err(detail) => return Verdict::NotSupported { detail },
    };
    let sets = match data_sets(case) {
        Ok(sets) if sets.is_empty() => return Verdict::Failed { detail: "it has no test data".into() },
        Ok(sets) => sets,
        Err(detail) => return Verdict::Failed { detail },
    };
    let mut error: f64 = 0.0;
    for set in sets {
        match planned.difference(&set, wish) {
            Ok(difference) => error = error.max(difference),
            Err(Trouble::NotATensor(detail)) => return Verdict::NotSupported { detail },
            Err(Trouble::Wrong(detail)) => return Verdict::Failed { detail },
        }
    }
    Verdict::Passed { error }
}

/// A network that the executor supports.
struct Planned {
    executor: Executor,
    params: Params,
    inputs: Vec<String>,
    outputs: Vec<String>,
}

/// Why a data set did not pass.
enum Trouble {
    /// It has values that the executor does not support: sequences, strings.
    NotATensor(String),
    Wrong(String),
}

impl Planned {
    fn of(graph: &Graph, wish: &Wish) -> Result<Self, String> {
        let inputs: Vec<String> = graph.inputs.iter().map(|input| input.name.clone()).collect();
        let outputs: Vec<String> = graph.outputs.iter().map(|output| output.name.clone()).collect();
        let from: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let to: Vec<&str> = outputs.iter().map(String::as_str).collect();
        let refused = exec::unsupported(graph);
        if !refused.is_empty() {
            return Err(refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
        }
        let executor = Executor::new(graph, &from, &to).map_err(|error| error.to_string())?;
        let params = Params::from_graph(graph, wish.device).map_err(|error| error.to_string())?;
        Ok(Self { executor, params, inputs, outputs })
    }

    /// The largest difference from what is expected, as a share of its largest element.
    fn difference(&self, set: &DataSet, wish: &Wish) -> Result<f64, Trouble> {
        let fed: Vec<Tensor> =
            set.inputs.iter().map(|file| tensor(file, self.params.device())).collect::<Result<_, _>>()?;
        let given: Vec<(&str, &Tensor)> = self.inputs.iter().map(String::as_str).zip(&fed).collect();
        let computed = self.executor.run(&self.params, &given, &RunOptions::INFERENCE);
        let computed = computed.map_err(|error| Trouble::Wrong(error.to_string()))?;
        let mut most: f64 = 0.0;
        for ((name, ours), file) in self.outputs.iter().zip(&computed).zip(&set.outputs) {
            let (theirs, rounded) = expected(file)?;
            let wish = Wish { rtol: wish.rtol.max(rounded), ..*wish };
            let difference =
                compare(ours, &theirs, &wish).map_err(|detail| Trouble::Wrong(format!("{name}: {detail}")))?;
            most = most.max(difference);
        }
        Ok(most)
    }
}

/// The files of one run, in the order of the network's inputs and outputs.
struct DataSet {
    inputs: Vec<PathBuf>,
    outputs: Vec<PathBuf>,
}

fn data_sets(case: &Path) -> Result<Vec<DataSet>, String> {
    let listed = |folder: &Path, prefix: &str| {
        let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut found: Vec<(usize, PathBuf)> = entries
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let number = path.file_stem()?.to_str()?.strip_prefix(prefix)?.parse().ok()?;
                Some((number, path))
            })
            .collect();
        found.sort();
        Ok::<_, String>(found.into_iter().map(|(_, path)| path).collect::<Vec<_>>())
    };
    let folders = listed(case, "test_data_set_")?;
    let of_folder =
        |folder: &PathBuf| Ok(DataSet { inputs: listed(folder, "input_")?, outputs: listed(folder, "output_")? });
    folders.iter().map(of_folder).collect()
}

/// What a value in half precision may be off by for having been rounded on its way (as a share), where the executor keeps 32 bits.
const ROUNDED_TO_FLOAT16: f64 = 2e-3;
const ROUNDED_TO_BFLOAT16: f64 = 2e-2;

/// A tensor to feed, half precisions widened as the executor computes them; numbers on the device, whatever says where or how
/// much on the CPU.
fn tensor(file: &Path, device: tch::Device) -> Result<Tensor, Trouble> {
    let (tensor, _) = expected(file)?;
    Ok(if tensor.is_floating_point() { tensor.to_device(device) } else { tensor })
}

/// The same with what rounding explains.
fn expected(file: &Path) -> Result<(Tensor, f64), Trouble> {
    let not = |detail: String| Trouble::NotATensor(format!("{}: {detail}", file.display()));
    let bytes = fs::read(file).map_err(|error| Trouble::Wrong(format!("{}: {error}", file.display())))?;
    let data = onnx::decode_tensor(&bytes).map_err(|error| not(error.to_string()))?;
    let tensor = exec::to_tensor("value", &data).map_err(|error| not(error.to_string()))?;
    Ok(match tensor.kind() {
        Kind::Half => (tensor.to_kind(Kind::Float), ROUNDED_TO_FLOAT16),
        Kind::BFloat16 => (tensor.to_kind(Kind::Float), ROUNDED_TO_BFLOAT16),
        _ => (tensor, 0.0),
    })
}

/// The largest difference as a share of the largest element expected; an error if any is beyond the tolerance.
fn compare(ours: &Tensor, theirs: &Tensor, wish: &Wish) -> Result<f64, String> {
    if ours.size() != theirs.size() {
        return Err(format!("shape {:?}, expected {:?}", ours.size(), theirs.size()));
    }
    if ours.numel() == 0 {
        return Ok(0.0);
    }
    let (ours, theirs) = (ours.to_device(tch::Device::Cpu).to_kind(Kind::Double), theirs.to_kind(Kind::Double));
    // Infinities and NaNs must be where they are expected, or the case fails.
    let same = ours.eq_tensor(&theirs).logical_or(&ours.isnan().logical_and(&theirs.isnan()));
    let apart = (&ours - &theirs).abs().masked_fill(&same, 0.0);
    let scale = theirs.abs().nan_to_num(0.0, 0.0, 0.0).max().double_value(&[]);
    let allowed = theirs.abs() * wish.rtol + (wish.atol + wish.of_scale * scale);
    if bool::try_from(same.logical_or(&apart.le_tensor(&allowed)).all()).unwrap_or(false) {
        return Ok(apart.max().double_value(&[]) / scale.max(f64::MIN_POSITIVE));
    }
    Err(format!(
        "off by {:.3e} at most",
        apart.nan_to_num(f64::INFINITY, f64::INFINITY, f64::INFINITY).max().double_value(&[])
    ))
}
