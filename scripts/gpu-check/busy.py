"""How busy a GPU is, sampled while something runs."""

import subprocess
import threading
import time

INTERVAL = 0.1


class Sampler:
    """In a `with` statement: samples of the GPU's utilisation, as (seconds since the start, per cent)."""

    def __init__(self, device):
        self.samples, self.seconds = [], 0.0
        self.read = reader(device)
        self.over = threading.Event()

    def __enter__(self):
        self.began = time.monotonic()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.seconds = time.monotonic() - self.began
        self.over.set()
        self.thread.join()

    def watch(self):
        while self.read and not self.over.wait(INTERVAL):
            if (value := self.read()) is not None:
                self.samples.append((round(time.monotonic() - self.began, 2), value))

    def busy(self, last=None):
        """Mean utilisation, in all or between two moments, in seconds before the end; nothing without samples."""
        begin, end = (self.seconds - last[0], self.seconds - last[1]) if last else (0.0, self.seconds)
        within = [value for at, value in self.samples if begin <= at <= end]
        return sum(within) / len(within) if within else None


def reader(device):
    """A function that reads the utilisation in per cent; nothing on the CPU."""
    if device == "cpu":
        return None
    index = int(device.partition(":")[2] or 0)
    try:
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        return lambda: pynvml.nvmlDeviceGetUtilizationRates(handle).gpu
    except Exception as error:
        print(f"pynvml cannot be used ({error}); nvidia-smi is asked instead", flush=True)
    return lambda: from_program(index)


def from_program(index):
    command = ["nvidia-smi", f"--id={index}", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    told = subprocess.run(command, capture_output=True, text=True)
    return float(told.stdout) if told.returncode == 0 and told.stdout.strip().isdigit() else None
