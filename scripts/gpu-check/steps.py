"""Milliseconds of a training step by phase, beside PyTorch's loop."""

import json

import torch

import libraries
import loops
import subjects

PHASES = ["views", "teacher", "student_forward", "backward", "optimiser", "step"]


def steps(run):
    """A row for each network and way of computing; a step may take 1.5 times that of PyTorch's loop in bfloat16.

    On the CPU all of it is in float32: few processors are fast in bfloat16.
    """
    rows, kept = [], {}
    on_cpu = run.device == "cpu"
    beside = "float32" if on_cpu else "bfloat16"
    count = 3 if run.quick else 50
    for subject in run.networks:
        figures = {}
        model, images = subjects.write(subject, run.folder)
        for precision in ["float32"] if on_cpu else ["float32", "bfloat16"]:
            figures[f"practised, {precision}"] = ours(run, subject, model, images, precision, count)
        mine = next(iter(figures.values()))
        whole = mine["trained_nodes"][0] == mine["trained_nodes"][1]
        for precision in ["float32"] if on_cpu else loops.PRECISIONS:
            loop = loops.Loop(subject, run.device, precision, mine["views"], whole)
            figures[f"PyTorch, {precision}"] = {"milliseconds": loop.times(count)}
            del loop
            if not on_cpu:
                torch.cuda.empty_cache()
        best = figures[f"PyTorch, {beside}"]["milliseconds"]["step"]
        for name, told in figures.items():
            times = told["milliseconds"]
            rows.append([f"{subject.name}, {mine['views']} views", name, *(f"{times[phase]:.2f}" for phase in PHASES), f"{times['step'] / best:.2f}"])
        kept[subject.name] = figures
        run.keep("steps", kept)
        for row in rows[-len(figures) :]:
            print(", ".join(row), flush=True)
    return ["network", "loop", *PHASES, f"of PyTorch's {beside}"], rows, []


def ours(run, subject, model, images, precision, count):
    job = run.folder / f"{subject.name}.{precision}.json"
    job.write_text(json.dumps({"preprocess": subjects.PREPROCESS, "finetune": {"precision": precision}}))
    command = [run.binary, "steps", model, "--images", images, "--job", job, "--blocks", subject.blocks]
    told = json.loads(libraries.run([*command, "--steps", count, "--device", run.device], run.environment))
    if told["precision"] != precision:
        print(f"{subject.name} is not trained in {precision}: steps are in {told['precision']}", flush=True)
    return told
