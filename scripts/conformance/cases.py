"""ONNX's own backend tests, written out as folders: node tests from their Python cases, and the networks in the wheel."""

import shutil
import warnings
from pathlib import Path

import numpy
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"


def write_all(folder):
    """Folders of cases by the suite that they are from."""
    folder = Path(folder)
    suites = {"node": write_nodes(folder / "node")}
    for suite in ("pytorch-operator", "pytorch-converted", "simple"):
        suites[suite] = sorted(path for path in (DATA / suite).iterdir() if (path / "model.onnx").exists())
    suites["light"] = write_light(folder / "light")
    return suites


def write_nodes(folder):
    warnings.filterwarnings("ignore")
    return [write(folder, case.name, case.model, case.data_sets) for case in collect_testcases(None) if case.model]


def write_light(folder):
    """Networks with made-up weights; their tests feed them what the file beside them was computed from."""
    cases = []
    for model in sorted((DATA / "light").glob("*.onnx")):
        network = onnx.load(model)
        weights = {tensor.name for tensor in network.graph.initializer}
        (fed,) = [value for value in network.graph.input if value.name not in weights]
        size = [dim.dim_value for dim in fed.type.tensor_type.shape.dim]
        # As onnx.backend.test.runner has it.
        count = int(numpy.prod(size))
        values = (numpy.arange(count).reshape(size) / count).astype(numpy.float32)
        expected = onnx.TensorProto()
        expected.ParseFromString((model.parent / f"{model.stem}_output_0.pb").read_bytes())
        cases.append(write(folder, model.stem, network, [([values], [expected])]))
    return cases


def write(folder, name, model, data_sets):
    case = folder / name
    shutil.rmtree(case, ignore_errors=True)
    case.mkdir(parents=True)
    onnx.save(model, case / "model.onnx")
    for at, sets in enumerate(data_sets):
        for values, kind, infos in zip(sets, ("input", "output"), (model.graph.input, model.graph.output)):
            run = case / f"test_data_set_{at}"
            run.mkdir(exist_ok=True)
            for index, value in enumerate(values):
                (run / f"{kind}_{index}.pb").write_bytes(as_message(value, infos[index]).SerializeToString())
    return case


def as_message(value, info):
    """Tensors as they are; what the executor has no values for in the message that says so."""
    if isinstance(value, onnx.TensorProto):
        return value
    kind = info.type.WhichOneof("value")
    make = {"map_type": numpy_helper.from_dict, "sequence_type": numpy_helper.from_list, "optional_type": numpy_helper.from_optional}
    return make.get(kind, numpy_helper.from_array)(value, info.name)
