"""How long what a user waits for takes on this machine: `make bench`.

python benchmarks/speed.py [--model mini] [--output runs/bench.json]
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from portraitlib.generate.conditions import Condition, canny
from portraitlib.generate.control import control_to_image
from portraitlib.generate.images import text_to_image
from portraitlib.measuring.likeness import face_points
from portraitlib.models.load import Model, load_model
from portraitlib.photos.faces.find import DRAWN, PHOTOGRAPHS, encoder_for
from portraitlib.places import installed_version, versions
from portraitlib.portrait import Portrait, check_writable, write_json
from portraitlib.settings import Sampling

BENCH_PROMPT = "portrait of a woman, curly hair, smiling, in a forest"
# What a process of its own runs, so that nothing is warm.
FIRST_PICTURE = """
import portraitlib as pl
model = pl.load_model({model!r})
pl.text_to_image(model, {prompt!r}, pl.Sampling(num_inference_steps=25))
"""


def time_model(name: str, output: Path, say: Callable[[str], None] = print) -> None:
    """Time what a user of the model waits for; tell each figure, write all to `output` as JSON."""
    check_writable(output.absolute().parent)
    model = load_model(name)
    say(f"{model}, {os.cpu_count()} processors")
    rows = _time_pictures(model, name, say)
    record: dict[str, Any] = {
        "model": str(model),
        "seconds": rows,
        "processors": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "portraitlib": installed_version("portraitlib"),
        "versions": versions(),
    }
    write_json(output, record)
    say(f"written to {output}")


def _time_pictures(model: Model, name: str, say: Callable[[str], None]) -> dict[str, float]:
    """What is timed -> seconds; each is told as it is known.  name: by which a process loads it."""
    rows: dict[str, float] = {}

    def row(name: str, seconds: float) -> None:
        rows[name] = round(seconds, 4)
        say(f"  {name:<44}{seconds:9.3f} s")

    def draw(count: int) -> list[Portrait]:
        sampling = Sampling(num_images=count, num_inference_steps=25)
        return text_to_image(model, BENCH_PROMPT, sampling)

    def control(edges: Condition) -> list[Portrait]:
        sampling = Sampling(num_inference_steps=25)
        return control_to_image(model, edges, BENCH_PROMPT, sampling)

    row("import portraitlib", _process_s("import portraitlib") - _process_s("pass"))
    first = FIRST_PICTURE.format(model=name, prompt=BENCH_PROMPT)
    row("a new process to its first picture, 25 steps", _process_s(first, repeats=1))
    draw(1)  # warm up
    row("one picture, 25 steps", _median_s(lambda: draw(1), 3))
    row("a batch of 8, 25 steps", _median_s(lambda: draw(8), 2))
    if model.preset.controlnet_source:
        edges = canny(draw(1)[0], size_px=model.preset.size_px)
        control(edges)  # warm up
        row("one picture along edges, 25 steps", _median_s(lambda: control(edges), 3))
    if encoder := encoder_for(DRAWN if model.preset.words else PHOTOGRAPHS):
        images = [portrait.image for portrait in draw(8)] * 2
        face_points(images, encoder)  # warm up
        seconds = _median_s(lambda: face_points(images, encoder), 3) / len(images)
        row("a face found and compared, in a batch of 16", seconds)
    return rows


def _median_s(function: Callable[[], object], repeats: int) -> float:
    """Median wall time of a call, in seconds."""
    times = []
    for _ in range(repeats):
        start_s = time.perf_counter()
        function()
        times.append(time.perf_counter() - start_s)
    return median(times)


def _process_s(code: str, repeats: int = 3) -> float:
    """Median wall time of a fresh Python process that runs `code`, in seconds."""
    return _median_s(lambda: subprocess.run([sys.executable, "-c", code], check=True), repeats)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure how long pictures take here.")
    parser.add_argument("--model", default="mini", metavar="NAME", help="(%(default)s)")
    parser.add_argument("--output", default="runs/bench.json", metavar="FILE", help="(%(default)s)")
    chosen = parser.parse_args()
    time_model(chosen.model, Path(chosen.output).expanduser())
