//! Outputs of a file in ONNX Runtime, by which every delivered file is verified.

use tch::Tensor;

use crate::compress::CompressError;
use crate::graph::{DataType, ValueInfo, ValueType};
use crate::network::input::ImageInput;
use crate::network::input::side_inputs::SideInput;
use crate::network::{NetworkError, elements};
use crate::onnx;
use crate::onnxruntime::{Elements, Feed, Session};

/// Images per run if the file's batch is dynamic.
const BATCH: i64 = 50;

/// The given values of a file for these images, (n, C, H, W), each with all images along its first dimension: outputs, or what
/// the file computes on the way to them.
///
/// A file with a fixed batch is run at that batch; the last one is filled up with repeated images, whose answers are
/// left out.
pub fn outputs(
    input: &ImageInput,
    companions: &[SideInput],
    wanted: &[String],
    file: &[u8],
    images: &Tensor,
) -> Result<Vec<Tensor>, CompressError> {
    let mut session = open(file, wanted)?;
    let total = images.size()[0];
    let batch = input.batch.map_or(BATCH.min(total), |batch| batch as i64);
    let mut gathered: Vec<Vec<Tensor>> = wanted.iter().map(|_| Vec::new()).collect();
    for start in (0..total).step_by(batch.max(1) as usize) {
        let count = batch.min(total - start);
        let part = images.f_narrow(0, start, count)?;
        let full = if input.batch.is_some() { fill_up(&part, batch)? } else { part };
        for (list, answer) in gathered.iter_mut().zip(run(&mut session, &fed(input, companions, &full)?, wanted)?) {
            list.push(answer.f_narrow(0, 0, count)?);
        }
    }
    gathered.iter().map(|list| Ok(Tensor::f_cat(list, 0)?)).collect()
}

/// A session with the wanted outputs; if the file does not have them, a copy with additional outputs is used.
fn open(file: &[u8], wanted: &[String]) -> Result<Session, CompressError> {
    let session = Session::open(file, crate::exec::threads())?;
    let put_out = session.output_names();
    let inside: Vec<&String> = wanted.iter().filter(|name| !put_out.contains(&name.as_str())).collect();
    if inside.is_empty() {
        return Ok(session);
    }
    let model = onnx::decode(file)?;
    let mut graph = model.graph.clone();
    let info = |name: &String| {
        let unknown = ValueType { dtype: DataType::Float32, shape: None };
        ValueInfo { name: name.clone(), ty: graph.values.get(name).cloned().unwrap_or(unknown) }
    };
    let outputs: Vec<ValueInfo> = inside.into_iter().map(info).collect();
    graph.outputs.extend(outputs);
    Ok(Session::open(&onnx::encode(&model, &graph, &[])?, crate::exec::threads())?)
}

fn fill_up(part: &Tensor, batch: i64) -> Result<Tensor, CompressError> {
    let count = part.size()[0];
    let indices: Vec<i64> = (0..batch).map(|i| i % count).collect();
    Ok(part.f_index_select(0, &Tensor::from_slice(&indices))?)
}

/// The value of every input for these images, (n, C, H, W).
fn fed<'a>(
    input: &'a ImageInput,
    companions: &'a [SideInput],
    images: &Tensor,
) -> Result<Vec<(&'a str, Tensor)>, CompressError> {
    let exact = input.exact(images)?;
    let companion = |companion: &'a SideInput| Ok((companion.name.as_str(), companion.fed(&exact)?));
    let fed = input.fed(&exact)?;
    std::iter::once(Ok((input.file_name.as_str(), fed))).chain(companions.iter().map(companion)).collect()
}

fn run(session: &mut Session, fed: &[(&str, Tensor)], wanted: &[String]) -> Result<Vec<Tensor>, CompressError> {
    let mut inputs: Vec<(&str, Vec<usize>, Elements)> = Vec::new();
    for (name, tensor) in fed {
        let shape = tensor.size().iter().map(|size| *size as usize).collect();
        inputs.push((name, shape, elements(tensor)?));
    }
    let feeds: Vec<Feed> = inputs.iter().map(|(name, shape, data)| Feed { name, shape, data }).collect();
    let answers = session.run(&feeds)?;
    let find = |name: &String| {
        let answer = answers.iter().find(|answer| answer.name == *name);
        answer.ok_or_else(|| NetworkError::ModelInterface(format!("the network has no output named \"{name}\"")))
    };
    let tensor = |name: &String| {
        let answer = find(name)?;
        let size: Vec<i64> = answer.shape.iter().map(|size| *size as i64).collect();
        Ok(Tensor::f_from_slice(&answer.data)?.f_reshape(size)?)
    };
    wanted.iter().map(tensor).collect()
}
