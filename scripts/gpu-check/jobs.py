"""Whole jobs through `practised compress`."""

import json
import subprocess
import threading
import time

import subjects
from busy import Sampler

TOGETHER = 3
PHASES = ["measure", "score", "select", "finetune", "verify"]


def jobs(run):
    """One job of each network, of every binary, alone on the machine."""
    rows, kept, problems = [], {}, []
    binaries = [("this", run.binary)] + ([("baseline", run.baseline)] if run.baseline else [])
    for subject in run.networks:
        subjects.write(subject, run.folder)
        for name, binary in binaries:
            sampler = Sampler(run.device)
            with sampler:
                seconds, report, problem = alone(run, binary, subject)
            if problem:
                problems.append(f"{subject.name}, {name}: {problem}")
                continue
            phases = report["cost"]["phases"]
            busy, window = sampler.busy(), training_of(report)
            training = sampler.busy(window) if window else None
            figures = {"seconds": seconds, "phases": phases, "busy": busy, "busy_in_training": training, "samples": sampler.samples}
            kept[f"{subject.name}, {name}"] = figures | {"quality": report.get("quality"), "finetune": report.get("finetune")}
            run.keep("jobs", kept)
            share = lambda value: "not measured" if value is None else f"{value:.0f} %"
            parts = [f"{phases.get(phase, 0.0):.1f}" for phase in PHASES]
            rows.append([subject.name, name, f"{seconds:.1f}", *parts, share(busy), share(training)])
            print(", ".join(rows[-1]), flush=True)
    return ["job", "binary", "seconds", *PHASES, "GPU busy", "in training"], rows, problems


def training_of(report):
    """When the training steps began and ended, in seconds before the end of the job; nothing if there were none."""
    points = [point["seconds"] for point in (report.get("finetune") or {}).get("history", [])]
    if len(points) < 3:
        return None
    phases = report["cost"]["phases"]
    rest = phases.get("finetune", 0.0) + phases.get("verify", 0.0)
    return rest - points[1], rest - points[-1]


def together(run):
    """Three jobs one after the other, and the same three side by side."""
    subject = run.networks[0]
    subjects.write(subject, run.folder)
    began = time.monotonic()
    problems = [told for told in (Job(run, run.binary, subject, at).wait() for at in range(TOGETHER)) if told]
    apart = time.monotonic() - began
    began = time.monotonic()
    running = [Job(run, run.binary, subject, TOGETHER + at) for at in range(TOGETHER)]
    problems += [told for told in (job.wait() for job in running) if told]
    beside = time.monotonic() - began
    run.keep("together", {"network": subject.name, "one_after_the_other": apart, "side_by_side": beside})
    rows = [[f"{TOGETHER} × {subject.name}", f"{apart:.1f}", f"{beside:.1f}", f"{apart / beside:.2f}"]]
    return ["jobs", "one after the other, s", "side by side, s", "throughput"], rows, problems


def alone(run, binary, subject):
    job = Job(run, binary, subject, 0)
    problem = job.wait()
    return job.seconds, None if problem else json.loads((job.out / "report.json").read_text()), problem


class Job:
    """A job in a process of its own, begun at once."""

    def __init__(self, run, binary, subject, seed):
        model, images = subjects.write(subject, run.folder)
        self.out = run.folder / f"out-{subject.name}-{time.monotonic_ns()}"
        body = {"preprocess": subjects.PREPROCESS, "target": {"blocks": subject.blocks}, "seed": seed}
        file = run.folder / f"{self.out.name}.json"
        file.write_text(json.dumps(body | ({"finetune": {"steps": 10}} if run.quick else {})))
        command = [binary, "compress", model, "--images", images, "--job", file, "--device", run.device, "--out", self.out]
        self.limit, self.told, self.began = run.limit, [], time.monotonic()
        self.process = subprocess.Popen(
            [str(word) for word in command], env=run.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self.reader = threading.Thread(target=self.listen, daemon=True)
        self.reader.start()

    def listen(self):
        for line in self.process.stderr:
            self.told.append(f"{time.monotonic() - self.began:.1f} s: {line.strip()}")

    def wait(self):
        """Nothing, or why the job failed, with what it said and when."""
        try:
            code = self.process.wait(self.limit)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = f"stopped after {self.limit} s"
        self.seconds = time.monotonic() - self.began
        self.reader.join(5)
        return None if code == 0 else f"exit code {code}: {'; '.join(self.told[-12:])}"
