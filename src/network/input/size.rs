//! The height and width that a network is analysed with.
//!
//! Convolutions accept any size, but many networks with dynamic ones run with a single size: a linear layer follows the maps,
//! or a reshape contains it. If there are no images, or theirs does not work, the size is found by trying.

use indexmap::IndexSet;

use super::ImageInput;
use crate::graph::{Graph, GraphError, GraphFault};
use crate::images::ImageError;
use crate::network::NetworkError;

/// Heights and widths in the order in which they are tried: photographs, small images, lines of text.
const SIZES: [(usize, usize); 12] = [
    (224, 224),
    (32, 32),
    (28, 28),
    (64, 64),
    (128, 128),
    (256, 256),
    (299, 299),
    (320, 320),
    (416, 416),
    (640, 640),
    (48, 320),
    (32, 128),
];

/// The size that a network is analysed with, and the graph `at` it: `wanted`, the images' size after preprocessing, or without
/// images the first size that works.
///
/// # Errors
/// Those of `at`; if height or width is dynamic, the error lists the sizes that were tried, or names one that works.
pub(crate) fn looked_at(
    input: &ImageInput,
    wanted: Option<(usize, usize)>,
    at: impl Fn((usize, usize)) -> Result<Graph, NetworkError>,
) -> Result<((usize, usize), Graph), NetworkError> {
    let sizes = sizes(input);
    let first = wanted.unwrap_or(sizes[0]);
    let refusal = match at(first) {
        Ok(graph) => return Ok((first, graph)),
        // Any other error occurs at every size.
        Err(NetworkError::Graph(refusal)) if input.size().is_none() => refusal,
        Err(error) => return Err(error),
    };
    let mut others = sizes.iter().filter(|size| **size != first);
    let found = others.find_map(|size| Some((*size, at(*size).ok()?)));
    match (found, wanted) {
        (Some(found), None) => Ok(found),
        (Some((size, _)), Some(wanted)) => Err(takes_another(wanted, size).into()),
        (None, Some(wanted)) => Err(at_none(input, &[wanted], SET_PREPROCESS, refusal).into()),
        (None, None) => Err(at_none(input, &sizes, EXPORT_WITH_IT, refusal).into()),
    }
}

/// The sizes to try, with the dimensions that are fixed in the file.
fn sizes(input: &ImageInput) -> Vec<(usize, usize)> {
    let sized = SIZES.map(|(height, width)| (input.height.unwrap_or(height), input.width.unwrap_or(width)));
    IndexSet::from(sized).into_iter().collect()
}

fn takes_another((height, width): (usize, usize), (takes_height, takes_width): (usize, usize)) -> ImageError {
    ImageError::InputMismatch {
        detail: format!(
            "the model cannot run on {width}×{height} images (width×height), which is what the preprocessing yields; it can \
             run on {takes_width}×{takes_height}"
        ),
        hint: format!(
            "set preprocess to {{\"resize\": [{takes_height}, {takes_width}]}}, or to what the model was trained with"
        ),
    }
}

const SET_PREPROCESS: &str = "if the model takes another size, set preprocess.resize or preprocess.crop to it";
const EXPORT_WITH_IT: &str = "if the model takes another size, export it with that size";

/// The error at the first size, with a list of all sizes that were tried.
fn at_none(input: &ImageInput, tried: &[(usize, usize)], hint: &str, refusal: GraphError) -> GraphError {
    let tried: Vec<String> = tried.iter().map(|(height, width)| format!("{width}×{height}")).collect();
    let detail = format!(
        "the height or width of the input is dynamic, and the model cannot run on images of {} (width×height)",
        tried.join(", ")
    );
    let ahead = GraphFault::of(&input.file_name, detail, hint);
    GraphError { problems: std::iter::once(ahead).chain(refusal.problems).collect() }
}
