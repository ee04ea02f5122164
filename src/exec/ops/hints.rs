//! Fixes for unsupported operators.

/// True for the operators that hold subgraphs.
pub(in crate::exec) fn is_control_flow(op: &str) -> bool {
    ["If", "Loop", "Scan", "SequenceMap"].contains(&op)
}

/// For an operator of ONNX's own domain.
pub(super) fn of_operator(op: &str) -> &'static str {
    match op {
        _ if is_control_flow(op) => {
            "networks with control flow are not read: replace data-dependent if and for in forward() and export again"
        }
        "QuantizeLinear"
        | "DequantizeLinear"
        | "DynamicQuantizeLinear"
        | "QLinearConv"
        | "QLinearMatMul"
        | "ConvInteger"
        | "MatMulInteger" => "upload the float32 network before quantisation, and quantise the student",
        "LSTM" | "GRU" | "RNN" => "recurrent layers are not supported: upload the part of the network before them",
        "NonMaxSuppression" | "TopK" | "NonZero" | "RoiAlign" | "Unique" => {
            "upload the network without its post-processing, and append it to the student again"
        }
        _ => "export the network without it",
    }
}

/// For an operator of another domain.
pub(super) fn of_domain(domain: &str) -> &'static str {
    match domain {
        "com.microsoft" | "com.microsoft.nchwc" => {
            "upload the file as it was before ONNX Runtime's optimiser or quantiser; the student can be optimised again"
        }
        _ => "export with ONNX's own operators",
    }
}
