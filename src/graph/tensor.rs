//! Constant tensors and their element types.

/// Element types that the core handles; the numbers are ONNX's `TensorProto.DataType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DataType {
    /// 32-bit float.
    Float32,
    /// 64-bit float.
    Float64,
    /// 16-bit float.
    Float16,
    /// bfloat16.
    BFloat16,
    /// Signed 8-bit.
    Int8,
    /// Unsigned 8-bit.
    Uint8,
    /// Signed 16-bit.
    Int16,
    /// Signed 32-bit.
    Int32,
    /// Signed 64-bit.
    Int64,
    /// Boolean, one byte each.
    Bool,
    /// Anything else, by its ONNX number: carried through, never computed with.
    Other(i32),
}

/// A constant tensor: little-endian elements, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorData {
    /// Element type.
    pub dtype: DataType,
    /// Sizes, outermost first; empty for a scalar.
    pub dims: Vec<usize>,
    /// `dims.product() × element size` bytes, little-endian.
    pub bytes: Vec<u8>,
}

impl DataType {
    /// From ONNX's `TensorProto.DataType`.
    pub fn from_onnx(number: i32) -> Self {
        match number {
            1 => Self::Float32,
            2 => Self::Uint8,
            3 => Self::Int8,
            5 => Self::Int16,
            6 => Self::Int32,
            7 => Self::Int64,
            9 => Self::Bool,
            10 => Self::Float16,
            11 => Self::Float64,
            16 => Self::BFloat16,
            other => Self::Other(other),
        }
    }

    /// From the name that `TensorProto.DataType` has for it, as `Cast` before opset 6.
    pub fn from_onnx_name(name: &str) -> Option<Self> {
        Some(match name {
            "FLOAT" => Self::Float32,
            "UINT8" => Self::Uint8,
            "INT8" => Self::Int8,
            "INT16" => Self::Int16,
            "INT32" => Self::Int32,
            "INT64" => Self::Int64,
            "BOOL" => Self::Bool,
            "FLOAT16" => Self::Float16,
            "DOUBLE" => Self::Float64,
            _ => return None,
        })
    }

    /// As ONNX's `TensorProto.DataType`.
    pub fn to_onnx(self) -> i32 {
        match self {
            Self::Float32 => 1,
            Self::Uint8 => 2,
            Self::Int8 => 3,
            Self::Int16 => 5,
            Self::Int32 => 6,
            Self::Int64 => 7,
            Self::Bool => 9,
            Self::Float16 => 10,
            Self::Float64 => 11,
            Self::BFloat16 => 16,
            Self::Other(number) => number,
        }
    }

    /// Bytes per element; `None` for types that the core does not compute with.
    pub fn size(self) -> Option<usize> {
        match self {
            Self::Int8 | Self::Uint8 | Self::Bool => Some(1),
            Self::Int16 | Self::Float16 | Self::BFloat16 => Some(2),
            Self::Float32 | Self::Int32 => Some(4),
            Self::Float64 | Self::Int64 => Some(8),
            Self::Other(_) => None,
        }
    }

    /// True for the floating-point types.
    pub fn is_float(self) -> bool {
        matches!(self, Self::Float32 | Self::Float64 | Self::Float16 | Self::BFloat16)
    }
}

impl TensorData {
    /// A float tensor. Panics where `values` does not fill `dims`: a bug of the caller.
    pub fn from_f32(dims: &[usize], values: &[f32]) -> Self {
        assert_eq!(dims.iter().product::<usize>(), values.len(), "values fill the shape");
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self { dtype: DataType::Float32, dims: dims.to_vec(), bytes }
    }

    /// An integer tensor. Panics where `values` does not fill `dims`: a bug of the caller.
    pub fn from_i64(dims: &[usize], values: &[i64]) -> Self {
        assert_eq!(dims.iter().product::<usize>(), values.len(), "values fill the shape");
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self { dtype: DataType::Int64, dims: dims.to_vec(), bytes }
    }

    /// Number of elements (1 for a scalar).
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// True if a dimension is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements as f32, if the type is Float32.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        (self.dtype == DataType::Float32).then(|| {
            self.bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four bytes"))).collect()
        })
    }

    /// The elements widened to i64, if the type is an integer or boolean one.
    pub fn to_i64(&self) -> Option<Vec<i64>> {
        let wide = match self.dtype {
            DataType::Int64 => {
                self.bytes.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().expect("eight bytes"))).collect()
            }
            DataType::Int32 => self
                .bytes
                .chunks_exact(4)
                .map(|b| i32::from_le_bytes(b.try_into().expect("four bytes")).into())
                .collect(),
            DataType::Int16 => self
                .bytes
                .chunks_exact(2)
                .map(|b| i16::from_le_bytes(b.try_into().expect("two bytes")).into())
                .collect(),
            DataType::Int8 => self.bytes.iter().map(|b| i64::from(*b as i8)).collect(),
            DataType::Uint8 | DataType::Bool => self.bytes.iter().map(|b| i64::from(*b)).collect(),
            _ => return None,
        };
        Some(wide)
    }
}
