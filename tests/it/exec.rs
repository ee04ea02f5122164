//! The executor on hand-made graphs: what it computes, what it frees, what it lets learn, what it refuses.

use practised::exec::{BatchNorm, Device, ExecError, Executor, Params, RunOptions, unsupported};
use practised::graph::{Attribute, DataType, Graph, Node, TensorData, ValueInfo, ValueType};
use tch::{Kind, Tensor};

use crate::support::noise;

const BATCH: RunOptions = RunOptions { batch_norm: BatchNorm::Batch { update_running: true } };

#[test]
fn a_residual_block_is_conv_bn_relu_and_the_shortcut() {
    let graph = block();
    let params = Params::from_graph(&graph, Device::Cpu).unwrap();
    let x = noise(&[2, 4, 5, 5], 1);
    let y = run(&graph, &params, &["x"], &["y"], &[("x", &x)], &RunOptions::default()).remove(0);

    let conv = x.conv2d(params.get("w").unwrap(), None::<&Tensor>, [1, 1], [1, 1], [1, 1], 1);
    let per_channel = |name: &str| params.get(name).unwrap().view([1, 4, 1, 1]);
    let normal = (conv - per_channel("mean")) / (per_channel("var") + 1e-5).sqrt();
    let expected = (normal * per_channel("scale") + per_channel("bias") + &x).relu();
    assert_close(&y, &expected, 1e-5);
}

#[test]
fn a_tap_gives_the_value_in_the_middle_and_leaves_the_rest_alone() {
    let graph = block();
    let params = Params::from_graph(&graph, Device::Cpu).unwrap();
    let x = noise(&[2, 4, 5, 5], 2);
    let feed = [("x", &x)];
    let all = run(&graph, &params, &["x"], &["sum", "y", "c", "n", "x"], &feed, &RunOptions::default());
    let y = run(&graph, &params, &["x"], &["y"], &feed, &RunOptions::default()).remove(0);
    assert_close(&all[1], &y, 0.0);
    assert_close(&all[0].relu(), &y, 0.0);
    assert_close(&all[4], &x, 0.0);
    // The sum is written over the normalised value where nobody asked for that one; here somebody did.
    assert_close(&(&all[3] + &x), &all[0], 0.0);
    assert!(all[0].min().double_value(&[]) < 0.0, "the tap is before the activation");
}

#[test]
fn a_suffix_runs_from_a_value_in_the_middle() {
    let graph = block();
    let params = Params::from_graph(&graph, Device::Cpu).unwrap();
    let (x, c) = (noise(&[1, 4, 5, 5], 3), noise(&[1, 4, 5, 5], 4));
    let executor = Executor::new(&graph, &["c", "x"], &["y"]).unwrap();
    assert_eq!(executor.step_count(), 3, "BatchNormalization, Add and Relu, not Conv");
    let out = executor.run(&params, &[("x", &x), ("c", &c)], &RunOptions::default()).unwrap();
    assert_eq!(out[0].size(), [1, 4, 5, 5]);
}

#[test]
fn the_callers_tensors_are_never_written_over() {
    let graph = block();
    let params = Params::from_graph(&graph, Device::Cpu).unwrap();
    let (x, n) = (noise(&[1, 4, 5, 5], 5), noise(&[1, 4, 5, 5], 6));
    let before = (x.copy(), n.copy());
    run(&graph, &params, &["x", "n"], &["y"], &[("x", &x), ("n", &n)], &RunOptions::default());
    assert_close(&x, &before.0, 0.0);
    assert_close(&n, &before.1, 0.0);
}

#[test]
fn gradients_reach_the_trainable_weights_and_no_others() {
    let graph = block();
    let mut params = Params::from_graph(&graph, Device::Cpu).unwrap();
    let trained = params.trainable(&["w", "scale", "bias"]).unwrap();
    let x = noise(&[2, 4, 5, 5], 7);
    let loss = |params: &Params| {
        let out = run(&graph, params, &["x"], &["y"], &[("x", &x)], &RunOptions::default()).remove(0);
        out.square().mean(Kind::Float)
    };
    loss(&params).backward();
    // Against central differences on the first entry of each.
    for (name, tensor) in ["w", "scale", "bias"].iter().zip(&trained) {
        let gradient = tensor.grad().view([-1]).double_value(&[0]);
        let moved = |by: f64| {
            let mut params = params.deep_copy().unwrap();
            let mut flat = params.get(name).unwrap().copy().view([-1]).get(0);
            let whole = params.get(name).unwrap().copy();
            flat += by;
            whole.view([-1]).get(0).copy_(&flat);
            params.set(name, whole);
            loss(&params).double_value(&[])
        };
        let expected = (moved(1e-2) - moved(-1e-2)) / 2e-2;
        assert!((gradient - expected).abs() < 2e-3 * expected.abs().max(0.05), "{name}: {gradient} against {expected}");
    }
    assert!(!params.get("mean").unwrap().requires_grad());

    params.trainable(&["bias"]).unwrap();
    assert!(!params.get("w").unwrap().requires_grad(), "asking for one tensor takes it back from the others");
}

#[test]
fn gradients_flow_on_through_a_weight_that_was_itself_computed() {
    let graph = block();
    let mut params = Params::from_graph(&graph, Device::Cpu).unwrap();
    let adapter = Tensor::eye(4, (Kind::Float, tch::Device::Cpu)).set_requires_grad(true);
    let merged = Tensor::einsum("oihw,ij->ojhw", &[params.get("w").unwrap(), &adapter], None::<i64>);
    params.set("w", merged);
    let x = noise(&[2, 4, 5, 5], 8);
    let out = run(&graph, &params, &["x"], &["y"], &[("x", &x)], &RunOptions::default()).remove(0);
    out.square().mean(Kind::Float).backward();
    assert!(adapter.grad().abs().max().double_value(&[]) > 0.0);
}

#[test]
fn no_grad_builds_no_graph() {
    let graph = block();
    let mut params = Params::from_graph(&graph, Device::Cpu).unwrap();
    params.trainable(&["w"]).unwrap();
    let x = noise(&[2, 4, 5, 5], 9);
    let out = tch::no_grad(|| run(&graph, &params, &["x"], &["y"], &[("x", &x)], &RunOptions::default())).remove(0);
    assert!(!out.requires_grad());
}

#[test]
fn batch_statistics_normalise_and_move_the_running_ones_as_torch_does() {
    let graph = block();
    let params = Params::from_graph(&graph, Device::Cpu).unwrap();
    let x = noise(&[3, 4, 5, 5], 10);
    let old = (params.get("mean").unwrap().copy(), params.get("var").unwrap().copy());
    let out = run(&graph, &params, &["x"], &["c", "n"], &[("x", &x)], &BATCH);

    let over = [0i64, 2, 3].as_slice();
    let (mean, var) = (out[0].mean_dim(over, false, Kind::Float), out[0].var_dim(over, false, false));
    let wide = |t: &Tensor| t.view([1, 4, 1, 1]);
    let normal = (&out[0] - wide(&mean)) / (wide(&var) + 1e-5).sqrt();
    let expected = normal * wide(params.get("scale").unwrap()) + wide(params.get("bias").unwrap());
    assert_close(&out[1], &expected, 1e-5);
    // The node says momentum 0.8: 80 % of the old stays. The running variance is the unbiased one.
    let unbiased = out[0].var_dim(over, true, false);
    assert_close(params.get("mean").unwrap(), &(old.0 * 0.8 + mean * 0.2), 1e-6);
    assert_close(params.get("var").unwrap(), &(old.1 * 0.8 + unbiased * 0.2), 1e-6);
}

#[test]
fn running_statistics_stay_where_they_are_unless_asked() {
    let graph = block();
    let params = Params::from_graph(&graph, Device::Cpu).unwrap();
    let x = noise(&[3, 4, 5, 5], 11);
    let old = params.get("var").unwrap().copy();
    let still = RunOptions { batch_norm: BatchNorm::Batch { update_running: false } };
    let a = run(&graph, &params, &["x"], &["y"], &[("x", &x)], &still).remove(0);
    assert_close(params.get("var").unwrap(), &old, 0.0);
    let b = run(&graph, &params, &["x"], &["y"], &[("x", &x)], &BATCH).remove(0);
    assert_close(&a, &b, 0.0);
}

#[test]
fn a_batch_of_one_value_per_channel_has_no_statistics() {
    let graph = block();
    let params = Params::from_graph(&graph, Device::Cpu).unwrap();
    let x = noise(&[1, 4, 1, 1], 12);
    let executor = Executor::new(&graph, &["x"], &["y"]).unwrap();
    let error = executor.run(&params, &[("x", &x)], &BATCH).unwrap_err().to_string();
    assert!(error.contains("bn1") && error.contains("larger batch"), "{error}");
}

#[test]
fn a_shape_that_does_not_fit_names_the_node_and_the_shapes() {
    let graph = block();
    let params = Params::from_graph(&graph, Device::Cpu).unwrap();
    let executor = Executor::new(&graph, &["x"], &["y"]).unwrap();
    let error = executor.run(&params, &[("x", &noise(&[1, 3, 5, 5], 13))], &RunOptions::default()).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, ExecError::Node { .. }), "{text}");
    assert!(text.contains("\"conv1\" (Conv)") && text.contains("[1, 3, 5, 5]"), "{text}");
    assert!(!text.contains("frame #"), "torch's stack trace is left out: {text}");
}

#[test]
fn unknown_and_missing_values_are_named() {
    let graph = block();
    let new = |from: &[&str], to: &[&str]| Executor::new(&graph, from, to).err().map(|e| e.to_string()).unwrap();
    assert!(new(&["x"], &["z"]).contains("no value named \"z\""));
    assert!(new(&["c"], &["y"]).contains("\"x\" is needed by"));
    let params = Params::from_graph(&graph, Device::Cpu).unwrap();
    let executor = Executor::new(&graph, &["x"], &["y"]).unwrap();
    let error = executor.run(&params, &[], &RunOptions::default()).unwrap_err();
    assert!(error.to_string().contains("\"x\""));
}

#[test]
fn everything_unsupported_is_listed_at_once() {
    let mut graph = block();
    graph.nodes.push(node("lstm", "LSTM", &["y", "w", "w"], &["l"]));
    graph.nodes.push(node("pool", "MaxPool", &["y"], &["p"]).with("auto_pad", Attribute::String(b"ODD".to_vec())));
    let mut custom = node("odd", "Swish", &["y"], &["s"]);
    custom.domain = "com.example".to_owned();
    graph.nodes.push(custom);
    let listed = unsupported(&graph);
    let names: Vec<&str> = listed.iter().map(|item| item.node.as_str()).collect();
    assert_eq!(names, ["lstm", "pool", "odd"]);
    assert!(listed[2].reason.contains("com.example"));
    assert!(unsupported(&block()).is_empty());
    // A part of the network that avoids them still runs.
    assert!(Executor::new(&graph, &["x"], &["y"]).is_ok());
    let error = Executor::new(&graph, &["x"], &["l", "s"]).err().unwrap().to_string();
    assert!(error.contains("lstm") && error.contains("odd") && !error.contains("\"pool\""), "{error}");
}

#[test]
fn half_precision_weights_compute_as_f32_and_leave_as_they_came() {
    let mut graph = block();
    let halves: Vec<u8> = [0x3C00u16, 0x4000, 0xB800, 0x0000].iter().flat_map(|v| v.to_le_bytes()).collect();
    let data = TensorData { dtype: DataType::Float16, dims: vec![4], bytes: halves };
    graph.initializers.insert("scale".to_owned(), data.clone().into());
    let params = Params::from_graph(&graph, Device::Cpu).unwrap();
    assert_close(params.get("scale").unwrap(), &Tensor::from_slice(&[1.0f32, 2.0, -0.5, 0.0]), 0.0);
    assert_eq!(params.to_tensor_data("scale").unwrap(), data);
}

#[test]
fn a_constant_that_does_not_fill_its_shape_is_refused() {
    let mut graph = block();
    let short = TensorData { dtype: DataType::Float32, dims: vec![4], bytes: vec![0; 12] };
    graph.initializers.insert("scale".to_owned(), short.into());
    let error = Params::from_graph(&graph, Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("\"scale\"") && error.contains("16 bytes"), "{error}");
}

#[test]
fn a_gpu_that_is_not_there_is_an_error_with_a_way_out() {
    if practised::exec::cuda::load().is_ok() {
        println!("skipped: this machine has CUDA");
        return;
    }
    let error = Device::Cuda(0).open().unwrap_err().to_string();
    assert!(error.starts_with("cuda:0 cannot be used"), "{error}");
}

/// x → Conv → BatchNormalization → Add(x) → Relu → y, four channels.
fn block() -> Graph {
    let nodes = vec![
        node("conv1", "Conv", &["x", "w"], &["c"]).with("pads", Attribute::Ints(vec![1, 1, 1, 1])),
        node("bn1", "BatchNormalization", &["c", "scale", "bias", "mean", "var"], &["n"])
            .with("momentum", Attribute::Float(0.8)),
        node("add1", "Add", &["n", "x"], &["sum"]),
        node("relu1", "Relu", &["sum"], &["y"]),
    ];
    let info =
        |name: &str| ValueInfo { name: name.to_owned(), ty: ValueType { dtype: DataType::Float32, shape: None } };
    let weights = [
        ("w", noise(&[4, 4, 3, 3], 100) * 0.3),
        ("scale", noise(&[4], 101) + 1.0),
        ("bias", noise(&[4], 102)),
        ("mean", noise(&[4], 103) * 0.1),
        ("var", noise(&[4], 104).abs() + 0.5),
    ];
    Graph {
        opsets: [(String::new(), 17)].into(),
        inputs: vec![info("x")],
        outputs: vec![info("y")],
        nodes,
        initializers: weights.into_iter().map(|(name, tensor)| (name.to_owned(), data(&tensor).into())).collect(),
        ..Graph::default()
    }
}

fn node(name: &str, op: &str, inputs: &[&str], outputs: &[&str]) -> Node {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Node { name: name.to_owned(), op: op.to_owned(), inputs: owned(inputs), outputs: owned(outputs), ..Node::default() }
}

trait With {
    fn with(self, name: &str, value: Attribute) -> Self;
}

impl With for Node {
    fn with(mut self, name: &str, value: Attribute) -> Self {
        self.attrs.set(name, value);
        self
    }
}

fn data(tensor: &Tensor) -> TensorData {
    practised::exec::from_tensor("test", tensor, DataType::Float32).unwrap()
}

fn run(
    graph: &Graph,
    params: &Params,
    from: &[&str],
    to: &[&str],
    feed: &[(&str, &Tensor)],
    options: &RunOptions,
) -> Vec<Tensor> {
    Executor::new(graph, from, to).unwrap().run(params, feed, options).unwrap()
}

fn assert_close(actual: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_eq!(actual.size(), expected.size());
    let worst = (actual - expected).abs().max().double_value(&[]);
    assert!(worst <= tolerance, "differs by {worst}, more than {tolerance}");
}
