//! Weights that lie in files next to the network's own, as PyTorch's exporter writes them: `model.onnx` and `model.onnx.data`.
//!
//! The core knows networks in one piece, so the data is put into the message where a file comes in.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use buffa::Message;

use super::decode::{MAX_BYTES, MAX_DEPTH, options};
use super::error::OnnxError;
use super::proto::tensor_proto::DataLocation;
use super::proto::{GraphProto, ModelProto, TensorProto};
use super::{sniff, tensor};

/// Part of a file that holds the data of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The file, relative to the network's: no absolute path, and nothing outside its folder.
    pub location: PathBuf,
    /// Where in it the data begins, in bytes.
    pub offset: u64,
    /// How long the data is, in bytes; `None` if it goes to the file's end.
    pub length: Option<u64>,
}

/// The same network in one piece; `None` if it is already. `open` opens a file by its location, or says why not.
///
/// # Errors
/// A file that is no network, a location outside its folder, a file that is not there or too short, more data than a network may
/// have.
pub fn in_one_piece(
    bytes: &[u8],
    open: &mut dyn FnMut(&Path) -> Result<File, String>,
) -> Result<Option<Vec<u8>>, OnnxError> {
    if bytes.len() > MAX_BYTES || names_files(bytes, Outline::Model, MAX_DEPTH) != Some(true) {
        return Ok(None);
    }
    let decoded = options().decode_from_slice::<ModelProto>(bytes);
    // What is no network is refused, with the reason, by whatever reads it next.
    let Ok(mut proto) = decoded else { return Ok(None) };
    let mut room = MAX_BYTES - bytes.len();
    let mut found = false;
    for tensor in tensors(proto.graph.get_or_insert_default()) {
        let Some(part) = part(tensor)? else { continue };
        let unreadable = |detail: String| OnnxError::ExternalUnreadable {
            tensor: tensor.name.clone().unwrap_or_default(),
            location: part.location.display().to_string(),
            detail,
        };
        let data = open(&part.location).and_then(|file| read(file, &part, room)).map_err(unreadable)?;
        room -= data.len();
        tensor.raw_data = Some(data);
        tensor.external_data.clear();
        tensor.data_location = None;
        found = true;
    }
    if !found {
        return Ok(None);
    }
    let whole = proto.try_encode_to_vec();
    whole.map(Some).map_err(|error| OnnxError::Encode { detail: error.to_string() })
}

/// The messages on the way to a tensor.
#[derive(Clone, Copy)]
enum Outline {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
}

impl Outline {
    /// What a field of this message is, if that may hold tensors.
    fn field(self, number: u64) -> Option<Self> {
        Some(match (self, number) {
            (Self::Model, 7) | (Self::Attribute, 6 | 11) => Self::Graph,
            (Self::Graph, 1) => Self::Node,
            (Self::Node, 5) => Self::Attribute,
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) => Self::Tensor,
            _ => return None,
        })
    }
}

/// Whether a tensor says that its data is in another file, seen from the outline of the message alone: it may be large. `None` if
/// it is no such message.
fn names_files(bytes: &[u8], message: Outline, depth: u32) -> Option<bool> {
    const EXTERNAL_DATA: u64 = 13;
    let mut rest = bytes;
    while !rest.is_empty() {
        let tag = sniff::varint(&mut rest)?;
        let length = match tag & 7 {
            0 => sniff::varint(&mut rest).map(|_| 0)?,
            1 => 8,
            2 => usize::try_from(sniff::varint(&mut rest)?).ok()?,
            5 => 4,
            _ => return None,
        };
        let (field, behind) = rest.split_at_checked(length)?;
        rest = behind;
        if matches!(message, Outline::Tensor) && tag >> 3 == EXTERNAL_DATA {
            return Some(true);
        }
        let inside = message.field(tag >> 3).filter(|_| tag & 7 == 2 && depth > 0);
        if inside.is_some_and(|inside| names_files(field, inside, depth - 1) == Some(true)) {
            return Some(true);
        }
    }
    Some(false)
}

/// Every tensor of a graph and of the graphs inside its nodes.
fn tensors(graph: &mut GraphProto) -> Vec<&mut TensorProto> {
    let mut found: Vec<&mut TensorProto> = graph.initializer.iter_mut().collect();
    for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
        found.extend(attribute.t.as_option_mut());
        found.extend(attribute.tensors.iter_mut());
        let inside = attribute.g.as_option_mut().into_iter().chain(attribute.graphs.iter_mut());
        found.extend(inside.flat_map(tensors));
    }
    found
}

/// Where the data of a tensor lies, if not in its message.
fn part(tensor: &TensorProto) -> Result<Option<Part>, OnnxError> {
    let Some(location) = tensor::external_location(tensor) else { return Ok(None) };
    let bad = |detail: &str| OnnxError::ExternalUnreadable {
        tensor: tensor.name.clone().unwrap_or_default(),
        location: location.clone(),
        detail: detail.to_owned(),
    };
    let number = |key: &str| {
        let entry = tensor.external_data.iter().find(|entry| entry.key.as_deref() == Some(key));
        let value = entry.and_then(|entry| entry.value.as_deref());
        value.map(|value| value.parse::<u64>().map_err(|_| bad(&format!("its {key} is not a number")))).transpose()
    };
    if tensor.data_location != Some(DataLocation::EXTERNAL) && tensor.data_location.is_some() {
        return Ok(None);
    }
    let inside = within_folder(&location).ok_or_else(|| bad("it is outside the network's folder"))?;
    Ok(Some(Part { location: inside, offset: number("offset")?.unwrap_or(0), length: number("length")? }))
}

/// A location as a path below the network's folder; `None` if it leads out of it, or nowhere.
pub fn within_folder(location: &str) -> Option<PathBuf> {
    if location.contains('\\') || location.contains('\0') {
        return None;
    }
    let parts = Path::new(location).components().filter(|part| *part != Component::CurDir);
    let named: Option<PathBuf> = parts.map(|part| matches!(part, Component::Normal(_)).then_some(part)).collect();
    named.filter(|path| path.components().next().is_some())
}

fn read(mut file: File, part: &Part, room: usize) -> Result<Vec<u8>, String> {
    let size = file.metadata().map_err(|error| error.to_string())?.len();
    let length = part.length.unwrap_or_else(|| size.saturating_sub(part.offset));
    let end = part.offset.checked_add(length).filter(|end| *end <= size);
    if end.is_none() {
        return Err(format!(
            "it has {size} bytes, but the network expects {length} bytes at offset {}: it may be incomplete, or from another \
             export",
            part.offset
        ));
    }
    let length = usize::try_from(length).ok().filter(|length| *length <= room);
    let length = length.ok_or_else(|| format!("with it, the network has more than the limit of {MAX_BYTES} bytes"))?;
    let mut data = vec![0; length];
    file.seek(SeekFrom::Start(part.offset))
        .and_then(|_| file.read_exact(&mut data))
        .map_err(|error| error.to_string())?;
    Ok(data)
}

/// True if these bytes are a zip that PyTorch did not write.
pub fn is_zip(head: &[u8]) -> bool {
    head.starts_with(b"PK\x03\x04") && !sniff::is_pytorch(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_stays_in_the_folder() {
        assert_eq!(within_folder("model.onnx.data"), Some("model.onnx.data".into()));
        assert_eq!(within_folder("./weights/a.bin"), Some("weights/a.bin".into()));
        for outside in ["", ".", "..", "/etc/passwd", "../a", "a/../../b", "a\\..\\b", "C:\\a", "a\0b"] {
            assert_eq!(within_folder(outside), None, "{outside:?}");
        }
    }
}
