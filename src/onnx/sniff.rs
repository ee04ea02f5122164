//! Tells by the first bytes what a file is, so that the error can say what to do about it.

use super::error::OnnxError;

/// Refuses what is recognisably something else than protobuf.
pub(super) fn refuse_other_formats(bytes: &[u8]) -> Result<(), OnnxError> {
    if bytes.is_empty() {
        return Err(not_onnx("an empty file"));
    }
    if let Some(kind) = pytorch(bytes) {
        return Err(OnnxError::Pickle { kind });
    }
    let known =
        MAGIC.iter().find(|(offset, magic, _)| bytes.get(*offset..).is_some_and(|rest| rest.starts_with(magic)));
    match known {
        Some((_, _, what)) => Err(not_onnx(what)),
        None if looks_like_safetensors(bytes) => {
            Err(not_onnx("a safetensors file, which holds weights without a network"))
        }
        None => Ok(()),
    }
}

/// Explains why protobuf decoding failed or found nothing: another kind of file, or an ONNX file cut off.
pub(super) fn explain(bytes: &[u8], detail: String) -> OnnxError {
    if looks_like_text(bytes) {
        return not_onnx("a text file");
    }
    match outline(bytes) {
        Outline::CutOff(field) => {
            OnnxError::Truncated { bytes: bytes.len(), detail: format!("it ends within {field}") }
        }
        Outline::Foreign => not_onnx("some other binary file"),
        Outline::Whole => OnnxError::Malformed { detail },
    }
}

fn not_onnx(looks_like: &str) -> OnnxError {
    OnnxError::NotOnnx { looks_like: looks_like.to_owned() }
}

/// Offset, magic number, description.
const MAGIC: &[(usize, &[u8], &str)] = &[
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"PK\x05\x06", "an empty zip archive"),
    (0, b"\x1f\x8b", "a gzip archive; unpack it first"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd archive; unpack it first"),
    (0, b"BZh", "a bzip2 archive; unpack it first"),
    (0, b"\xfd7zXZ", "an xz archive; unpack it first"),
    (257, b"ustar", "a tar archive; unpack it first"),
    (0, b"\x89HDF", "an HDF5 (Keras) file"),
    (4, b"TFL3", "a TensorFlow Lite file"),
    (0, b"ORTM", "an ONNX Runtime (.ort) file"),
    (4, b"ORTM", "an ONNX Runtime (.ort) file"),
    (0, b"\x89PNG", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"%PDF", "a PDF"),
    (0, b"\x7fELF", "a program"),
    (0, b"GGUF", "a GGUF file"),
];

/// True if the first bytes are PyTorch's.
pub(super) fn is_pytorch(bytes: &[u8]) -> bool {
    !bytes.is_empty() && pytorch(bytes).is_some()
}

fn pytorch(bytes: &[u8]) -> Option<&'static str> {
    // Pickle protocols 2 to 5 start with PROTO and their number; PyTorch's old format pickles its magic number first.
    let pickle = bytes[0] == 0x80 && bytes.get(1).is_some_and(|version| (2..=5).contains(version));
    if pickle {
        return Some("a Python pickle (PyTorch .pt/.pth)");
    }
    let zip = bytes.starts_with(b"PK\x03\x04");
    // torch.save names its entries `<archive>/data.pkl`, first of all; torch.export names one `…archive_format`.
    let head = &bytes[..bytes.len().min(4096)];
    if zip && (contains(head, b"/data.pkl") || contains(head, b"/.format_version") || contains(head, b"/byteorder")) {
        return Some("a PyTorch archive (.pt/.pth)");
    }
    (zip && contains(head, b"archive_format")).then_some("an exported PyTorch program (.pt2)")
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

fn looks_like_safetensors(bytes: &[u8]) -> bool {
    let length = bytes.first_chunk::<8>().map(|head| u64::from_le_bytes(*head));
    length.is_some_and(|n| n < 100_000_000) && bytes.get(8..10) == Some(b"{\"")
}

/// Printable from start to end of the first kilobyte: JSON, HTML, CSV, ONNX's own text format.
fn looks_like_text(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(1024)];
    head.iter().all(|b| matches!(b, b'\t' | b'\n' | b'\r' | 0x20..=0x7e | 0x80..))
        && std::str::from_utf8(&head[..head.len().saturating_sub(3)]).is_ok()
}

enum Outline {
    /// Fields of a model from start to end.
    Whole,
    /// Fields of a model, the last of them longer than the rest of the file.
    CutOff(&'static str),
    /// Not the fields of a model.
    Foreign,
}

/// Walks the top-level fields without looking into them.
fn outline(bytes: &[u8]) -> Outline {
    // No varint is longer; one that does not end here is none.
    const LONGEST: usize = 10;
    let mut rest = bytes;
    while !rest.is_empty() {
        let stopped = |rest: &[u8], field| if rest.len() < LONGEST { Outline::CutOff(field) } else { Outline::Foreign };
        let Some(tag) = varint(&mut rest) else { return stopped(rest, "a field's tag") };
        let Some((_, wire, name)) = FIELDS.iter().find(|(number, _, _)| *number == tag >> 3) else {
            return Outline::Foreign;
        };
        if *wire != tag & 7 {
            return Outline::Foreign;
        }
        let Some(value) = varint(&mut rest) else { return stopped(rest, name) };
        if *wire == 0 {
            continue;
        }
        match usize::try_from(value).ok().and_then(|length| rest.get(length..)) {
            Some(behind) => rest = behind,
            None => return Outline::CutOff(name),
        }
    }
    Outline::Whole
}

/// Number, wire type and name of each field of `ModelProto`.
const FIELDS: &[(u64, u64, &str)] = &[
    (1, 0, "ir_version"),
    (2, 2, "producer_name"),
    (3, 2, "producer_version"),
    (4, 2, "domain"),
    (5, 0, "model_version"),
    (6, 2, "doc_string"),
    (7, 2, "graph"),
    (8, 2, "opset_import"),
    (14, 2, "metadata_props"),
    (20, 2, "training_info"),
    (25, 2, "functions"),
    (26, 2, "configuration"),
];

/// The next number of a protobuf message, taken off its front.
pub(super) fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for (i, byte) in rest.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f).checked_shl(7 * i as u32).unwrap_or(0);
        if byte & 0x80 == 0 {
            *rest = &rest[i + 1..];
            return Some(value);
        }
    }
    None
}
