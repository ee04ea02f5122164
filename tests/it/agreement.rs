//! Whole networks in the executor against ONNX Runtime, to 1e-4 of the output's scale.

use std::path::Path;

use practised::exec::{Device, Executor, Params, RunOptions, unsupported};
use practised::graph::{InputShapes, fold};
use practised::network::elements;
use practised::onnx;
use practised::onnxruntime::{Feed, Session};
use tch::Tensor;

use crate::support::networks::{BatchNorm, Constants, Head, Shapes, Shortcut, Style, TinyResNet};
use crate::support::noise;

const TOLERANCE: f64 = 1e-4;

#[test]
fn tiny_networks_in_every_form_agree() {
    let plain = TinyResNet::default;
    let forms = [
        plain(),
        TinyResNet { bn: BatchNorm::Folded, ..plain() },
        TinyResNet { constants: Constants::Nodes, shapes: Shapes::Computed, opset: 17, ..plain() },
        TinyResNet { head: Head::ReduceMean, shortcut: Shortcut::SlicePad, ..plain() },
        TinyResNet { shortcut: Shortcut::SlicePad, shapes: Shapes::Computed, opset: 13, ..plain() },
        TinyResNet { style: Style::MbConv, ..plain() },
        TinyResNet { style: Style::MbConv, bn: BatchNorm::Folded, constants: Constants::Nodes, opset: 11, ..plain() },
    ];
    for form in forms {
        let difference = difference(&form.bytes(), &[3, 3, 8, 8]);
        assert!(difference <= TOLERANCE, "{form:?} is off by {difference:.1e}");
    }
}

#[test]
fn the_real_networks_agree() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/models");
    if !folder.exists() {
        println!("skipped: no ../shared");
        return;
    }
    for (name, pixels) in [
        ("resnet20_cifar10", 32),
        ("resnet20_cifar10_bn", 32),
        ("efficientnet_lite0_imagenet", 224),
        ("efficientnet_lite0_imagenet_bn", 224),
    ] {
        let bytes = std::fs::read(folder.join(format!("{name}.onnx"))).unwrap();
        let difference = difference(&bytes, &[2, 3, pixels, pixels]);
        println!("{name}: differs from ONNX Runtime by {difference:.1e} of the output's scale");
        assert!(difference <= TOLERANCE, "{name} is off by {difference:.1e}");
    }
}

/// The largest difference between the executor's output and ONNX Runtime's, relative to the largest output.
fn difference(bytes: &[u8], size: &[i64]) -> f64 {
    let x = noise(size, 1);
    let ours = Vec::<f32>::try_from(in_executor(bytes, &x).reshape([-1])).unwrap();

    let mut session = Session::open(bytes, 1).unwrap();
    let input = session.input_names()[0].to_owned();
    let data = elements(&x).unwrap();
    let shape: Vec<usize> = size.iter().map(|size| *size as usize).collect();
    let theirs = session.run(&[Feed { name: &input, shape: &shape, data: &data }]).unwrap().remove(0).data;

    assert_eq!(ours.len(), theirs.len());
    let scale = theirs.iter().fold(0.0f32, |scale, value| scale.max(value.abs()));
    let worst = ours.iter().zip(&theirs).fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs()));
    assert!(scale > 0.0 && worst.is_finite(), "the outputs are numbers, and not all zero");
    f64::from(worst / scale)
}

fn in_executor(bytes: &[u8], x: &Tensor) -> Tensor {
    let graph = fold(&onnx::decode(bytes).unwrap().graph, &InputShapes::new()).unwrap();
    assert_eq!(unsupported(&graph), []);
    let (input, output) = (graph.inputs[0].name.as_str(), graph.outputs[0].name.as_str());
    let executor = Executor::new(&graph, &[input], &[output]).unwrap();
    let params = Params::from_graph(&graph, Device::Cpu).unwrap();
    tch::no_grad(|| executor.run(&params, &[(input, x)], &RunOptions::default())).unwrap().remove(0)
}
