//! The feature loss: how far a student's features are from its teacher's (paper §3.3). No labels anywhere.

use tch::Tensor;

use super::Student;
use crate::compress::CompressError;
use crate::compress::samples::Samples;
use crate::exec::{BatchNorm, Executor, Params, RunOptions};
use crate::network::{Network, NetworkError};

/// A network that answers with its features and its outputs.
pub struct Forward {
    executor: Executor,
    input: String,
    taps: usize,
}

/// What a network says about some images, on the CPU or wherever it computes.
pub struct Answers {
    /// One tensor per tap.
    pub features: Vec<Tensor>,
    /// The first output.
    pub output: Tensor,
}

impl Forward {
    /// Features only: what training needs.
    pub fn features(network: &Network, student: &Student) -> Result<Self, CompressError> {
        Self::plan(network, student, None)
    }

    /// Features and the first output: what measuring quality needs.
    pub fn answers(network: &Network, student: &Student) -> Result<Self, CompressError> {
        let answers = network.answers_in(&student.graph);
        Self::plan(network, student, answers.first().map(String::as_str))
    }

    fn plan(network: &Network, student: &Student, extra: Option<&str>) -> Result<Self, CompressError> {
        let mut to: Vec<&str> = student.taps.iter().map(String::as_str).collect();
        let taps = to.len();
        to.extend(extra);
        let executor = Executor::new(&student.graph, &[&network.input.name], &to)?;
        Ok(Self { executor, input: network.input.name.clone(), taps })
    }

    /// Runs on a batch, (n, C, H, W); the wanted values in order, features first.
    pub fn run(&self, params: &Params, images: &Tensor, batch_norm: BatchNorm) -> Result<Vec<Tensor>, CompressError> {
        let images = images.f_to_device(params.device())?;
        let values = self.executor.run(params, &[(&self.input, &images)], &RunOptions { batch_norm })?;
        match values.iter().find(|value| value.size().first() != images.size().first()) {
            Some(value) => Err(no_row_an_image(&value.size(), images.size()[0])),
            None => Ok(values),
        }
    }

    /// Runs on these samples without gradients, in evaluation mode and in batches; results are gathered on the CPU.
    pub fn all(&self, params: &Params, samples: &Samples, indices: &[i64]) -> Result<Answers, CompressError> {
        let mut gathered: Vec<Vec<Tensor>> = Vec::new();
        for chunk in indices.chunks(samples.evaluation_batch()) {
            let images = samples.select(chunk)?;
            let values = tch::no_grad(|| self.run(params, &images, BatchNorm::Running))?;
            gathered.resize_with(values.len(), Vec::new);
            gathered.iter_mut().zip(values).for_each(|(list, value)| list.push(value.to_device(tch::Device::Cpu)));
        }
        let mut joined = gathered.iter().map(|list| Tensor::f_cat(list, 0)).collect::<Result<Vec<_>, _>>()?;
        let outputs = joined.split_off(self.taps);
        let output = outputs.into_iter().next().unwrap_or_default();
        Ok(Answers { features: joined, output })
    }
}

/// Where shapes did not tell before anything was computed.
fn no_row_an_image(size: &[i64], images: i64) -> CompressError {
    NetworkError::ModelInterface(format!(
        "for {images} images the network returns an output, or features, of size {size:?}; the first dimension must be the \
         number of images"
    )).into()
}
