"""Exports networks of Keras with tf2onnx, for `make zoo`: images as (N, H, W, C) behind a Transpose, SAME padding as Pad or auto_pad."""

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import numpy
import onnx
import tensorflow as tf
import tf2onnx

#: Name, family, droppable blocks.
NETWORKS = [
    ("ResNet50", "ResNet, bottleneck", 12),
    # Keras strides in the last block of a stage, whose shortcut is pooled: three more than the projections stay.
    ("ResNet50V2", "ResNet, pre-activation", 9),
    ("MobileNetV2", "MobileNetV2", 10),
    ("MobileNetV3Small", "MobileNetV3", 6),
    ("EfficientNetB0", "EfficientNet", 9),
    ("EfficientNetV2B0", "EfficientNetV2", None),
    ("Xception", "Xception", None),
    ("ConvNeXtTiny", "ConvNeXt", 18),
]
BATCH = 2


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="where the exports go; those that are there stay")
    parser.add_argument("--fixture", type=Path, help="write the tests' tiny network there and nothing else")
    parser.add_argument("--only", action="append", default=[], help="networks whose name holds this")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.fixture:
        export(tiny(), args.fixture)
        return
    for name, family, droppable in NETWORKS:
        if args.only and not any(part in name for part in args.only):
            continue
        path = args.folder / f"keras-{name}.onnx"
        if not path.with_suffix(".json").exists():
            # Some leave height and width free where nobody says.
            answer(getattr(tf.keras.applications, name)(weights=None, input_shape=(224, 224, 3)), path)
            told = {"network": f"keras/{name}", "family": family, "droppable": droppable}
            path.with_suffix(".json").write_text(json.dumps(told))
        print(path.name, flush=True)


def answer(model, path):
    """Exports, with the network's answers to an example beside it."""
    tf.keras.utils.set_random_seed(0)
    images = numpy.random.default_rng(0).standard_normal((BATCH, *model.input_shape[1:]), dtype=numpy.float32)
    answers = {"input_0": images, "output_0": run(model)(images).numpy()}
    export(model, path)
    # What a Normalization layer has adapted to is no variable, and tf2onnx makes inputs of it.
    for at, value in enumerate(onnx.load(path).graph.input[1:], 1):
        (norm,) = [layer for layer in model.layers if isinstance(layer, tf.keras.layers.Normalization)]
        answers[f"input_{at}"] = numpy.asarray(norm.mean if "/Sub/" in value.name else norm.variance)
    numpy.savez(path.with_suffix(".npz"), **answers)


def run(model):
    return tf.function(lambda images: model(images, training=False))


def export(model, path):
    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="input")]
    tf2onnx.convert.from_function(run(model), input_signature=signature, opset=17, output_path=str(path))


def tiny():
    """Two stages of two residual blocks; the second halves the resolution with SAME padding, which is uneven then."""
    tf.keras.utils.set_random_seed(0)
    layers = tf.keras.layers
    inputs = layers.Input((32, 32, 3))
    x = layers.ReLU()(layers.Conv2D(8, 3, padding="same", name="stem")(inputs))
    for stage, width in enumerate((8, 16)):
        for block in range(2):
            stride = 2 if stage and not block else 1
            y = layers.Conv2D(width, 3, stride, padding="same", name=f"stage{stage}_block{block}_conv1")(x)
            y = layers.ReLU()(layers.BatchNormalization()(y))
            y = layers.Conv2D(width, 3, padding="same", name=f"stage{stage}_block{block}_conv2")(y)
            shortcut = layers.Conv2D(width, 1, stride)(x) if stride == 2 else x
            x = layers.ReLU()(layers.Add(name=f"stage{stage}_block{block}_add")([shortcut, y]))
    outputs = layers.Dense(10, name="head")(layers.GlobalAveragePooling2D()(x))
    return tf.keras.Model(inputs, outputs)


if __name__ == "__main__":
    main()
