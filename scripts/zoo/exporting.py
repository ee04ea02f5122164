"""Exports with both of PyTorch's exporters, in the forms that customers send."""

import torch

SEED = 0


def built(network):
    """The network with weights that are random but do something: no gain of 0 or 1e-6, statistics of noise."""
    torch.manual_seed(SEED)
    model = network.build()
    shake(model)
    settle(model, network)
    return model.eval()


@torch.no_grad()
def shake(model):
    """Moves what was made constant (gains, biases, layer scale, positions)."""
    for parameter in model.parameters():
        if parameter.numel() > 1 and bool((parameter == parameter.flatten()[0]).all()):
            centre = parameter.flatten()[0].abs().clamp(min=0.2)
            parameter.add_(0.2 * centre * torch.randn_like(parameter))


@torch.no_grad()
def settle(model, network):
    """Gives BatchNormalizations the statistics of noise, so that maps keep their scale through the network."""
    norms = [m for m in model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
    model.train()
    model(*example(network, 4))
    for norm in norms:
        norm.momentum = 0.1


def example(network, batch):
    generator = torch.Generator().manual_seed(SEED)
    return tuple(torch.randn(batch, *shape, generator=generator) for shape in network.inputs)


def torchscript(model, inputs, path, batch="static", norm="folded", opset=17):
    """The TorchScript-based exporter. `norm`: folded, kept, or training."""
    names = input_names(inputs)
    outputs = output_names(model, inputs)
    axes = {name: {0: "batch"} for name in names + outputs} if batch == "dynamic" else None
    if norm == "training":
        # Tracing runs the network, and would move the statistics.
        for module in model.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.momentum = 0.0
    training = {"kept": torch.onnx.TrainingMode.PRESERVE, "training": torch.onnx.TrainingMode.TRAINING}
    torch.onnx.export(
        model.train() if norm == "training" else model,
        inputs,
        path,
        dynamo=False,
        opset_version=opset,
        input_names=names,
        output_names=outputs,
        dynamic_axes=axes,
        training=training.get(norm, torch.onnx.TrainingMode.EVAL),
        do_constant_folding=norm == "folded",
        keep_initializers_as_inputs=opset < 9 or None,
    )
    model.eval()


def dynamo(model, inputs, path, batch="dynamic", optimize=True, opset=18):
    names = input_names(inputs)
    shapes = tuple({0: torch.export.Dim("batch")} for _ in inputs) if batch == "dynamic" else None
    torch.onnx.export(
        model,
        inputs,
        path,
        dynamo=True,
        opset_version=opset,
        input_names=names,
        output_names=output_names(model, inputs),
        dynamic_shapes=shapes,
        optimize=optimize,
        external_data=False,
        verbose=False,
    )


def input_names(inputs):
    return ["input"] if len(inputs) == 1 else [f"input_{at}" for at in range(len(inputs))]


@torch.no_grad()
def output_names(model, inputs):
    told = answers(model, inputs)
    return ["output"] if len(told) == 1 else [f"output_{at}" for at in range(len(told))]


@torch.no_grad()
def answers(model, inputs):
    """The network's outputs as a list."""
    told = model(*inputs)
    if isinstance(told, dict):
        return list(told.values())
    return list(told) if isinstance(told, (tuple, list)) else [told]
