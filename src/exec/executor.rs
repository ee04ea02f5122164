//! Runs the nodes between the values fed and the values wanted.

use std::sync::Arc;

use tch::Tensor;

use super::error::ExecError;
use super::kernel::{Call, Cause};
use super::options::RunOptions;
use super::params::Params;
use super::plan::{Plan, Source, Step};
use crate::graph::Graph;

/// A planned part of a network. Cheap to clone, and holds no tensors: the weights are in [`Params`].
#[derive(Clone)]
pub struct Executor {
    plan: Arc<Plan>,
}

impl Executor {
    /// Plans the computation of `to` (any values, such as feature taps) from `from` (any values, such as the graph's inputs
    /// or a point in its middle) on a folded graph. Only the nodes in between are planned.
    ///
    /// Errors name every node in between that is not supported, a value that the graph does not have, or one that `to`
    /// depends on and `from` does not provide.
    pub fn new(graph: &Graph, from: &[&str], to: &[&str]) -> Result<Self, ExecError> {
        Ok(Self { plan: Arc::new(Plan::new(graph, from, to)?) })
    }

    /// Computes the wanted values in the order of `to`. Each value in between is dropped after its last use.
    ///
    /// `inputs` holds a tensor for each of `from`, in any order, on the device of `params`. Gradients flow to whatever asks
    /// for them, unless the caller is inside `tch::no_grad`.
    pub fn run(
        &self,
        params: &Params,
        inputs: &[(&str, &Tensor)],
        options: &RunOptions,
    ) -> Result<Vec<Tensor>, ExecError> {
        if let Some(error) = injected(inputs) {
            return Err(error);
        }
        let mut values = self.fed_values(inputs)?;
        for step in &self.plan.steps {
            let outputs = run_step(step, &values, params, options)?;
            for (number, tensor) in step.outputs.iter().zip(outputs) {
                if let Some(number) = number {
                    values[*number] = Some(Held::Owned(tensor));
                }
            }
            for number in &step.free {
                values[*number] = None;
            }
        }
        self.plan.wanted.iter().map(|source| Ok(find(source, &values, params)?.shallow_clone())).collect()
    }

    /// How many nodes a run goes through.
    pub fn step_count(&self) -> usize {
        self.plan.steps.len()
    }

    fn fed_values<'a>(&self, inputs: &[(&str, &'a Tensor)]) -> Result<Vec<Option<Held<'a>>>, ExecError> {
        let mut values: Vec<Option<Held>> = Vec::with_capacity(self.plan.values);
        for name in &self.plan.fed {
            let given = inputs.iter().find(|(given, _)| given == name);
            let (_, tensor) = given.ok_or_else(|| ExecError::MissingInput { value: name.clone() })?;
            values.push(Some(Held::Borrowed(tensor)));
        }
        values.resize_with(self.plan.values, || None);
        Ok(values)
    }
}

/// Nothing, unless built for tests and asked for by `FAILPOINTS`: a device that is lost (`device=return`), or one that has memory
/// for so many images and no more (`memory=return(8)`).
fn injected(inputs: &[(&str, &Tensor)]) -> Option<ExecError> {
    let images = inputs.first().and_then(|(_, tensor)| tensor.size().first().copied()).unwrap_or(1);
    let failed = |detail: String| Some(ExecError::Tensor { name: "injected".to_owned(), detail });
    // Without the feature the macro takes neither.
    let _ = (images, &failed);
    fail::fail_point!("device", |_| failed("CUDA error: an illegal memory access was encountered".to_owned()));
    fail::fail_point!("memory", |limit| {
        let limit: i64 = limit?.parse().ok()?;
        if images > limit { failed(format!("can't allocate memory for {images} images")) } else { None }
    });
    None
}

/// A value during a run: the caller's, or our own.
enum Held<'a> {
    Borrowed(&'a Tensor),
    Owned(Tensor),
}

impl Held<'_> {
    fn tensor(&self) -> &Tensor {
        match self {
            Self::Borrowed(tensor) => tensor,
            Self::Owned(tensor) => tensor,
        }
    }
}

fn run_step(
    step: &Step,
    values: &[Option<Held>],
    params: &Params,
    options: &RunOptions,
) -> Result<Vec<Tensor>, ExecError> {
    let input = |source: &Option<Source>| source.as_ref().map(|source| find(source, values, params)).transpose();
    let inputs = step.inputs.iter().map(input).collect::<Result<Vec<_>, _>>()?;
    let call = Call { inputs: &inputs, options, device: params.device(), reuse: step.reuse };
    (step.kernel)(&call).map_err(|cause| failure(step, &inputs, &cause))
}

fn find<'v>(source: &Source, values: &'v [Option<Held>], params: &'v Params) -> Result<&'v Tensor, ExecError> {
    match source {
        Source::Param(name) => params.get(name).ok_or_else(|| ExecError::MissingParam { name: name.clone() }),
        // The plan lets a value live until its last use, so a hole is an operator with too few outputs.
        Source::Value(number) => match &values[*number] {
            Some(held) => Ok(held.tensor()),
            None => Err(ExecError::MissingInput { value: format!("value {number}") }),
        },
    }
}

fn failure(step: &Step, inputs: &[Option<&Tensor>], cause: &Cause) -> ExecError {
    let describe = |tensor: &Option<&Tensor>| match tensor {
        Some(tensor) => format!("{:?}{:?}", tensor.kind(), tensor.size()),
        None => "absent".to_owned(),
    };
    let inputs: Vec<String> = inputs.iter().map(describe).collect();
    ExecError::Node {
        node: step.node.clone(),
        op: step.op.clone(),
        inputs: inputs.join(", "),
        cause: cause.to_string(),
    }
}
