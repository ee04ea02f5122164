"""PyTorch's own libraries for a binary that was linked against the same libtorch elsewhere."""

import os
import subprocess
from pathlib import Path


def environment(threads):
    """The environment that the binary is run in."""
    import torch

    installed = Path(torch.__file__).parent
    folders = [installed / "lib", *sorted((installed.parent / "nvidia").glob("*/lib")), *sorted((installed.parent / "nvidia").glob("*/*/lib"))]
    paths = [str(folder) for folder in folders if folder.is_dir()]
    known = os.environ.get("LD_LIBRARY_PATH")
    environment = dict(os.environ, LD_LIBRARY_PATH=":".join(paths + ([known] if known else [])))
    environment |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    if "ORT_DYLIB_PATH" not in environment and (library := onnxruntime()):
        environment["ORT_DYLIB_PATH"] = str(library)
    return environment


def onnxruntime():
    """The library of Python's onnxruntime, if it is installed."""
    try:
        import onnxruntime
    except ImportError:
        return None
    found = sorted((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so*"))
    return found[0] if found else None


def no_gpu(device):
    """Why PyTorch cannot compute there; nothing if it can, as always on the CPU."""
    import torch

    if device == "cpu":
        return None
    if not torch.cuda.is_available():
        return f"PyTorch {torch.__version__} sees no GPU"
    if torch.device(device).type != "cuda" or (torch.device(device).index or 0) >= torch.cuda.device_count():
        return f"PyTorch's GPUs are cuda:0 to cuda:{torch.cuda.device_count() - 1}"
    return None


def gpu_name(device):
    """The GPU's name; nothing on the CPU."""
    import torch

    return torch.cuda.get_device_name(torch.device(device)) if device != "cpu" else None


def run(command, environment, timeout=600):
    """A program's output; an error with the end of what it wrote if it fails."""
    done = subprocess.run([str(word) for word in command], env=environment, capture_output=True, text=True, timeout=timeout)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit code {done.returncode}: {(done.stderr or done.stdout)[-600:]}")
    return done.stdout
