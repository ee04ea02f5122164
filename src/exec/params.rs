//! The weights of a network as tensors.

use indexmap::IndexMap;
use tch::Tensor;

use super::device::Device;
use super::error::ExecError;
use super::tensor::{computed_in, from_tensor, to_tensor};
use super::torch_message::torch_message;
use crate::graph::{DataType, Graph, TensorData};

/// Float initializers as tensors on one device, by name, and every other constant on the CPU.
///
/// Half-precision weights are held as f32 and narrowed again by [`Params::to_tensor_data`].
#[derive(Debug)]
pub struct Params {
    device: tch::Device,
    floats: IndexMap<String, Param>,
    constants: IndexMap<String, Tensor>,
}

#[derive(Debug)]
struct Param {
    tensor: Tensor,
    /// The element type in the file.
    dtype: DataType,
}

impl Params {
    /// Copies the initializers of a graph to a device. Those of types torch does not know are left out.
    pub fn from_graph(graph: &Graph, device: Device) -> Result<Self, ExecError> {
        let mut params = Self { device: device.open()?, floats: IndexMap::new(), constants: IndexMap::new() };
        for (name, data) in &graph.initializers {
            let Some(kind) = computed_in(data.dtype) else { continue };
            let tensor = to_tensor(name, data)?;
            if data.dtype.is_float() {
                let tensor = guard(name, || tensor.f_to_kind(kind)?.f_to_device(params.device))?;
                params.floats.insert(name.clone(), Param { tensor, dtype: data.dtype });
            } else {
                params.constants.insert(name.clone(), tensor);
            }
        }
        Ok(params)
    }

    /// The device that the float tensors are on.
    pub fn device(&self) -> tch::Device {
        self.device
    }

    /// A tensor by the initializer's name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.floats.get(name).map(|param| &param.tensor).or_else(|| self.constants.get(name))
    }

    /// Replaces a float tensor, or adds one. The tensor need not be a leaf: with a merged weight `A·W` in place, gradients
    /// flow on to `A`.
    pub fn set(&mut self, name: &str, tensor: Tensor) {
        match self.floats.get_mut(name) {
            Some(param) => param.tensor = tensor,
            None => {
                self.floats.insert(name.to_owned(), Param { tensor, dtype: DataType::Float32 });
            }
        }
    }

    /// Forgets a float tensor.
    pub fn remove(&mut self, name: &str) {
        self.floats.shift_remove(name);
    }

    /// Names of the float tensors, in the graph's order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.floats.keys().map(String::as_str)
    }

    /// Asks for gradients of exactly these tensors and of no other, and gives handles to them in this order.
    pub fn trainable(&mut self, names: &[&str]) -> Result<Vec<Tensor>, ExecError> {
        for (name, param) in &self.floats {
            if param.tensor.requires_grad() && param.tensor.is_leaf() {
                guard(name, || param.tensor.f_set_requires_grad(false).map(drop))?;
            }
        }
        let train = |name: &&str| {
            let param = self.floats.get(*name).ok_or_else(|| missing(name))?;
            guard(name, || param.tensor.f_set_requires_grad(true))
        };
        names.iter().map(train).collect()
    }

    /// A tensor as a constant of the element type that it had in the file.
    pub fn to_tensor_data(&self, name: &str) -> Result<TensorData, ExecError> {
        let param = self.floats.get(name).ok_or_else(|| missing(name))?;
        from_tensor(name, &param.tensor, param.dtype)
    }

    /// A copy that shares every tensor with the original until one of them is [`set`](Self::set).
    pub fn shallow_copy(&self) -> Self {
        let float = |(name, param): (&String, &Param)| {
            (name.clone(), Param { tensor: param.tensor.shallow_clone(), dtype: param.dtype })
        };
        let constant = |(name, tensor): (&String, &Tensor)| (name.clone(), tensor.shallow_clone());
        Self {
            device: self.device,
            floats: self.floats.iter().map(float).collect(),
            constants: self.constants.iter().map(constant).collect(),
        }
    }

    /// A copy that shares nothing with the original and asks for no gradients.
    pub fn deep_copy(&self) -> Result<Self, ExecError> {
        let copy =
            |name: &str, tensor: &Tensor| guard(name, || tensor.f_detach()?.f_to_dtype(tensor.f_kind()?, false, true));
        let float = |(name, param): (&String, &Param)| {
            Ok((name.clone(), Param { tensor: copy(name, &param.tensor)?, dtype: param.dtype }))
        };
        let constant = |(name, tensor): (&String, &Tensor)| Ok((name.clone(), copy(name, tensor)?));
        Ok(Self {
            device: self.device,
            floats: self.floats.iter().map(float).collect::<Result<_, ExecError>>()?,
            constants: self.constants.iter().map(constant).collect::<Result<_, ExecError>>()?,
        })
    }
}

fn missing(name: &str) -> ExecError {
    ExecError::MissingParam { name: name.to_owned() }
}

fn guard<T>(name: &str, torch: impl FnOnce() -> Result<T, tch::TchError>) -> Result<T, ExecError> {
    torch().map_err(|error| ExecError::Tensor { name: name.to_owned(), detail: torch_message(&error) })
}
