//! What is known about a value: its element type, its shape, and, for constants and shape arithmetic, its elements.

use std::sync::Arc;

use crate::graph::dim::{Dim, Shape};
use crate::graph::model::ValueType;
use crate::graph::tensor::{DataType, TensorData};

/// What inference knows about one value.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Fact {
    pub dtype: Option<DataType>,
    pub shape: Option<Shape>,
    pub known: Option<Known>,
}

/// The elements of a value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Known {
    /// All of them.
    Tensor(Arc<TensorData>),
    /// Integers some of which are free sizes: what `Shape` gives for a free batch.
    Items(Items),
}

/// Partly known integers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Items {
    pub dims: Vec<usize>,
    pub items: Vec<Item>,
}

/// One element of a partly known tensor.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Item {
    Int(i64),
    /// A free size, which is at least 1.
    Size(String),
    Unknown,
}

/// No shape has more elements than this; partly known tensors are shapes and what is computed from them.
pub(crate) const MOST_ITEMS: usize = 4096;

const LONGEST_NAME: usize = 128;

impl Fact {
    pub fn new(dtype: Option<DataType>, shape: Option<Shape>) -> Self {
        Self { dtype, shape, known: None }
    }

    /// What the file declares; absurdly long names of sizes are left out, since every value would repeat them.
    pub fn of_type(ty: &ValueType) -> Self {
        let mut shape = ty.shape.clone();
        let long = |size: &&mut Dim| matches!(size, Dim::Symbol(name) if name.len() > LONGEST_NAME);
        shape.iter_mut().flatten().filter(long).for_each(|size| *size = Dim::Unknown);
        Self::new(Some(ty.dtype), shape)
    }

    pub fn of_tensor(tensor: &Arc<TensorData>) -> Self {
        let shape = tensor.dims.iter().copied().map(Dim::Known).collect();
        Self { dtype: Some(tensor.dtype), shape: Some(shape), known: Some(Known::Tensor(Arc::clone(tensor))) }
    }

    pub fn value_type(&self) -> Option<ValueType> {
        self.dtype.map(|dtype| ValueType { dtype, shape: self.shape.clone() })
    }

    /// The constant, where every element is known.
    pub fn tensor(&self) -> Option<&Arc<TensorData>> {
        match &self.known {
            Some(Known::Tensor(tensor)) => Some(tensor),
            _ => None,
        }
    }

    /// The sizes, if all are known.
    pub fn dims(&self) -> Option<Vec<usize>> {
        self.shape.as_ref()?.iter().map(Dim::known).collect()
    }
}

impl Known {
    /// The same elements in another shape of as many.
    pub fn with_dims(self, dims: Vec<usize>) -> Self {
        match self {
            Known::Tensor(tensor) if tensor.dims == dims => Known::Tensor(tensor),
            Known::Tensor(tensor) => Known::Tensor(Arc::new(TensorData { dims, ..Arc::unwrap_or_clone(tensor) })),
            Known::Items(items) => Known::Items(Items { dims, ..items }),
        }
    }
}

impl Items {
    /// A vector.
    pub fn vector(items: Vec<Item>) -> Self {
        Self { dims: vec![items.len()], items }
    }

    /// A small constant integer tensor, or what is partly known already.
    pub fn of(known: &Known) -> Option<Self> {
        match known {
            Known::Items(items) => Some(items.clone()),
            Known::Tensor(tensor) if tensor.len() <= MOST_ITEMS => {
                let items = tensor.to_i64()?.into_iter().map(Item::Int).collect();
                Some(Self { dims: tensor.dims.clone(), items })
            }
            Known::Tensor(_) => None,
        }
    }

    /// A constant of `dtype` where every item is known.
    pub fn into_known(self, dtype: DataType) -> Known {
        let ints: Option<Vec<i64>> = self.items.iter().map(Item::int).collect();
        match ints.and_then(|ints| integers(dtype, &self.dims, &ints)) {
            Some(tensor) => Known::Tensor(Arc::new(tensor)),
            None => Known::Items(self),
        }
    }
}

impl Item {
    pub fn int(&self) -> Option<i64> {
        match self {
            Item::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// As a size of a shape; negative numbers have no meaning there.
    pub fn dim(&self) -> Dim {
        match self {
            Item::Int(value) => usize::try_from(*value).map_or(Dim::Unknown, Dim::Known),
            Item::Size(name) => Dim::Symbol(name.clone()),
            Item::Unknown => Dim::Unknown,
        }
    }
}

impl From<&Dim> for Item {
    fn from(dim: &Dim) -> Self {
        match dim {
            Dim::Known(size) => i64::try_from(*size).map_or(Item::Unknown, Item::Int),
            Dim::Symbol(name) => Item::Size(name.clone()),
            Dim::Unknown => Item::Unknown,
        }
    }
}

/// Integers narrowed to an integer or boolean element type, wrapping as ONNX's Cast does.
pub(crate) fn integers(dtype: DataType, dims: &[usize], values: &[i64]) -> Option<TensorData> {
    let narrow = |size: usize| values.iter().flat_map(|v| v.to_le_bytes().into_iter().take(size)).collect();
    let bytes = match dtype {
        DataType::Bool => values.iter().map(|v| u8::from(*v != 0)).collect(),
        DataType::Int64 | DataType::Int32 | DataType::Int16 | DataType::Int8 | DataType::Uint8 => narrow(dtype.size()?),
        _ => return None,
    };
    Some(TensorData { dtype, dims: dims.to_vec(), bytes })
}
