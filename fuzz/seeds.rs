//! Writes what the fuzzers start from, beside the tests' exported networks: small networks in every form that the tests know,
//! one of a single node for every operator, and a few archives.
//!
//!     seeds FOLDER

#[path = "../tests/it/support/networks.rs"]
mod networks;
#[path = "../tests/it/support/uploads.rs"]
#[allow(dead_code)]
mod uploads;

use std::path::Path;

// What the coverage of this program, as of every one that cargo-fuzz builds, is counted with.
use libfuzzer_sys as _;
use networks::{Batch, BatchNorm, Constants, Head, Shapes, Shortcut, Style, TinyResNet};
use practised::graph::{DataType, Dim, Graph, Node, TensorData, ValueInfo, ValueType};
use practised::{exec, onnx};

fn main() {
    let folder = std::env::args().nth(1).expect("a folder");
    let folder = Path::new(&folder);
    for (at, form) in forms().iter().enumerate() {
        write(folder, "networks", &format!("form-{at}"), &form.bytes());
    }
    for op in exec::operators() {
        for (inputs, graph) in one_node(op).iter().enumerate() {
            write(folder, "networks", &format!("{op}-{inputs}"), &onnx::encode_graph(graph, 8).expect("a network"));
        }
    }
    for (name, bytes) in archives() {
        write(folder, "archives", name, &bytes);
    }
}

fn write(folder: &Path, kind: &str, name: &str, bytes: &[u8]) {
    let folder = folder.join(kind);
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join(name), bytes).expect("a file");
}

/// Narrow, so that most of a file is structure and not weights.
fn forms() -> Vec<TinyResNet> {
    let tiny = || TinyResNet { width: 2, blocks: 1, pixels: 4, classes: 2, ..TinyResNet::default() };
    vec![
        tiny(),
        TinyResNet { bn: BatchNorm::Folded, ..tiny() },
        TinyResNet { style: Style::MbConv, ..tiny() },
        TinyResNet { constants: Constants::Nodes, head: Head::ReduceMean, ..tiny() },
        TinyResNet { shapes: Shapes::Computed, shortcut: Shortcut::SlicePad, ..tiny() },
        TinyResNet { shapes: Shapes::Computed, constants: Constants::Nodes, batch: Batch::Fixed(2), ..tiny() },
        TinyResNet { batch: Batch::Fixed(1), channels: 1, opset: 13, ..tiny() },
    ]
}

/// The operator between two others, given the image once or twice, and no numbers, two, or four.
fn one_node(op: &str) -> Vec<Graph> {
    let inputs: [&[&str]; 4] = [&["a"], &["a", "a"], &["a", "four", "four"], &["a", "two", "two", "two"]];
    let network = |inputs: &[&str]| Graph {
        opsets: [(String::new(), 17)].into(),
        inputs: vec![value("x", &[2, 3, 4, 4])],
        outputs: vec![value("y", &[])],
        nodes: vec![node("Relu", &["x"], "a"), node(op, inputs, "b"), node("Relu", &["b"], "y")],
        initializers: [("two", vec![1, 2]), ("four", vec![0, 1, 1, 2])]
            .map(|(name, values)| (name.to_owned(), TensorData::from_i64(&[values.len()], &values).into()))
            .into_iter()
            .collect(),
        ..Graph::default()
    };
    inputs.map(network).into()
}

fn node(op: &str, inputs: &[&str], output: &str) -> Node {
    let inputs = inputs.iter().map(|name| (*name).to_owned()).collect();
    Node { op: op.to_owned(), inputs, outputs: vec![output.to_owned()], ..Node::default() }
}

fn value(name: &str, dims: &[usize]) -> ValueInfo {
    let shape = (!dims.is_empty()).then(|| dims.iter().copied().map(Dim::Known).collect());
    ValueInfo { name: name.to_owned(), ty: ValueType { dtype: DataType::Float32, shape } }
}

fn archives() -> Vec<(&'static str, Vec<u8>)> {
    let encoded = |format| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let image = image::RgbImage::from_fn(4, 3, |x, y| image::Rgb([x as u8 * 60, y as u8 * 80, 9]));
        image.write_to(&mut bytes, format).expect("an image");
        bytes.into_inner()
    };
    let one = |name: &str, format| uploads::zip(&[(name, encoded(format))]);
    vec![
        ("png", uploads::image_zip(2, 3)),
        ("jpeg", one("a.jpg", image::ImageFormat::Jpeg)),
        ("bmp", one("a.bmp", image::ImageFormat::Bmp)),
        ("webp", one("a.webp", image::ImageFormat::WebP)),
        ("tiff", one("a.tiff", image::ImageFormat::Tiff)),
        ("labels", uploads::zip(&[("d/a.png", uploads::png(2, 1)), ("labels.csv", b"file,label\na.png,3\n".to_vec())])),
        ("folders", uploads::zip(&[("../a.png", uploads::png(2, 1)), ("__MACOSX/x", Vec::new()), ("b/", Vec::new())])),
    ]
}
