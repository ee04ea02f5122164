//! Tensor elements as numbers to compute with.

use half::{bf16, f16};

use crate::graph::shape::fact;
use crate::graph::tensor::{DataType, TensorData};

/// All integer types in i64 (booleans as 0 and 1), all floating-point types in f64: adding, multiplying, dividing two f32
/// there and rounding back gives what f32 arithmetic gives.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Numbers {
    Int(Vec<i64>),
    Float(Vec<f64>),
}

impl Numbers {
    /// `None` for element types that are only carried.
    pub fn of(tensor: &TensorData) -> Option<Self> {
        let bytes = &tensor.bytes;
        Some(Self::Float(match tensor.dtype {
            DataType::Float32 => elements(bytes).map(|b| f32::from_le_bytes(b).into()).collect(),
            DataType::Float64 => elements(bytes).map(f64::from_le_bytes).collect(),
            DataType::Float16 => elements(bytes).map(|b| f16::from_le_bytes(b).into()).collect(),
            DataType::BFloat16 => elements(bytes).map(|b| bf16::from_le_bytes(b).into()).collect(),
            _ => return tensor.to_i64().map(Self::Int),
        }))
    }

    /// Rounded to the nearest of a floating-point type; towards zero and wrapped for an integer type.
    pub fn tensor(self, dtype: DataType, dims: &[usize]) -> Option<TensorData> {
        if !dtype.is_float() {
            return fact::integers(dtype, dims, &self.ints(dtype));
        }
        let floats = self.floats();
        let values = floats.iter();
        let bytes = match dtype {
            DataType::Float64 => values.flat_map(|v| v.to_le_bytes()).collect(),
            DataType::Float16 => values.flat_map(|v| f16::from_f64(*v).to_le_bytes()).collect(),
            DataType::BFloat16 => values.flat_map(|v| bf16::from_f64(*v).to_le_bytes()).collect(),
            _ => values.flat_map(|v| (*v as f32).to_le_bytes()).collect(),
        };
        Some(TensorData { dtype, dims: dims.to_vec(), bytes })
    }

    pub fn floats(self) -> Vec<f64> {
        match self {
            Self::Float(values) => values,
            Self::Int(values) => values.into_iter().map(|v| v as f64).collect(),
        }
    }

    fn ints(self, dtype: DataType) -> Vec<i64> {
        match self {
            Self::Int(values) => values,
            // Half is true, as a boolean.
            Self::Float(values) if dtype == DataType::Bool => values.into_iter().map(|v| i64::from(v != 0.0)).collect(),
            Self::Float(values) => values.into_iter().map(|v| v as i64).collect(),
        }
    }

    /// The elements at `index`, in that order.
    pub fn pick(&self, index: &[usize]) -> Self {
        match self {
            Self::Int(values) => Self::Int(index.iter().map(|i| values[*i]).collect()),
            Self::Float(values) => Self::Float(index.iter().map(|i| values[*i]).collect()),
        }
    }
}

fn elements<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
    bytes.as_chunks::<N>().0.iter().copied()
}

impl TensorData {
    /// The same elements in another floating-point type; `None` if one of them is none there.
    pub fn narrowed(&self, dtype: DataType) -> Option<Self> {
        let narrow = Numbers::of(self)?.tensor(dtype, &self.dims)?;
        (Numbers::of(&narrow) == Numbers::of(self)).then_some(narrow)
    }
}
