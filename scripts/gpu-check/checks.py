"""What is right: ONNX's backend tests on the device."""

import os
import re
import subprocess
import sys
from pathlib import Path

CONFORMANCE = Path(__file__).resolve().parents[1] / "conformance"


def conformance(run):
    command = [sys.executable, CONFORMANCE, "--binary", run.binary, "--device", run.device, "--out", os.devnull]
    done = subprocess.run([str(word) for word in command], env=run.environment, capture_output=True, text=True)
    counts = re.findall(r"^([\w-]+): (\d+) passed, (\d+) not supported, (\d+) failed$", done.stdout, re.MULTILINE)
    failed = re.findall(r"^failed: (.*)$", done.stderr, re.MULTILINE)
    if not counts:
        failed = [(done.stderr or done.stdout)[-600:]]
    run.keep("conformance", {"suites": counts, "failed": failed})
    return ["suite", "passed", "not supported", "failed"], [list(count) for count in counts], failed
