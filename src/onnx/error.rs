//! Why a file is refused, and what its owner can do.

use crate::problem::Code;

/// Why bytes are not a usable ONNX file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// Some other kind of file.
    #[error("this is not an ONNX file but {looks_like}; upload the file that torch.onnx.export wrote")]
    NotOnnx {
        /// What the bytes look like, with an article.
        looks_like: String,
    },
    /// A PyTorch pickle or archive, which is never opened: it can run code.
    #[error(
        "this is {kind}, not ONNX; export it with: torch.onnx.export(model.eval(), torch.randn(1, 3, 224, 224), \
         \"model.onnx\", dynamo=True, external_data=False)"
    )]
    Pickle {
        /// Which kind, with an article.
        kind: &'static str,
    },
    /// The bytes end in the middle.
    #[error("the file is truncated after {bytes} bytes: {detail}; upload the complete file again")]
    Truncated {
        /// Bytes there are.
        bytes: usize,
        /// The position at which reading stopped.
        detail: String,
    },
    /// Weights live in another file.
    #[error(
        "the data of {count} tensors, such as `{tensor}`, is in another file (`{location}`); upload both, as a zip or as two parts \
         of a form, or save as one file: torch.onnx.export(…, external_data=False), or onnx.save_model(onnx.load(path), \
         \"one.onnx\")"
    )]
    ExternalData {
        /// The first such tensor.
        tensor: String,
        /// How many there are.
        count: usize,
        /// Location of its data, as given in the file.
        location: String,
    },
    /// Weights that should be in another file and are not there, or not all.
    #[error("the data of tensor `{tensor}` should be in `{location}`: {detail}")]
    ExternalUnreadable {
        /// The tensor.
        tensor: String,
        /// Location of its data, as given in the file.
        location: String,
        /// What is wrong there.
        detail: String,
    },
    /// Beyond what is read at all.
    #[error("the file has {bytes} bytes, more than the limit of {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Millions of elements or very deep nesting: no network, an attack.
    #[error("the file is too complex to be a network: {detail}")]
    TooComplex {
        /// Which bound was met.
        detail: String,
    },
    /// A message without its graph.
    #[error("the file has no graph; it may be incomplete or not a network: export it again")]
    NoGraph,
    /// No operator set named, so no operator has a meaning.
    #[error("the file names no operator set (opset_import); it may be incomplete: export it again")]
    NoOpset,
    /// Model-local functions.
    #[error(
        "the file defines local functions ({}); inline them with onnx.inliner.inline_local_functions(model)",
        names.join(", ")
    )]
    Functions {
        /// Their names, the first few.
        names: Vec<String>,
    },
    /// A tensor that is no dense array of numbers.
    #[error("tensor `{tensor}` is {kind}, which is not supported for weights")]
    UnsupportedTensor {
        /// Its name, or the node and attribute that hold it.
        tensor: String,
        /// What it is, with an article where one fits.
        kind: &'static str,
    },
    /// A tensor that contradicts itself.
    #[error("tensor `{tensor}`: {detail}; export the network again")]
    BadTensor {
        /// Its name, or the node and attribute that hold it.
        tensor: String,
        /// The contradiction.
        detail: String,
    },
    /// Protobuf that is no valid ONNX model.
    #[error("the file is damaged: {detail}; export it again")]
    Malformed {
        /// What was found.
        detail: String,
    },
    /// The edited network cannot be written.
    #[error("the network cannot be written: {detail}")]
    Encode {
        /// Why not.
        detail: String,
    },
}

impl OnnxError {
    /// The kind of problem that it is.
    pub fn code(&self) -> Code {
        match self {
            Self::NotOnnx { .. } => Code::NotOnnx,
            Self::Pickle { .. } => Code::PytorchFile,
            Self::Truncated { .. } => Code::ModelTruncated,
            Self::ExternalData { .. } | Self::ExternalUnreadable { .. } => Code::ExternalData,
            Self::TooLarge { .. } => Code::ModelTooLarge,
            Self::TooComplex { .. } => Code::ModelTooComplex,
            Self::Functions { .. } => Code::ControlFlowUnsupported,
            Self::UnsupportedTensor { .. } => Code::TensorUnsupported,
            Self::NoGraph | Self::NoOpset | Self::BadTensor { .. } | Self::Malformed { .. } => Code::ModelInvalid,
            Self::Encode { .. } => Code::Internal,
        }
    }
}
