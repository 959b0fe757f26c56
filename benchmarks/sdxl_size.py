"""Every public function once on a model of SDXL's full size, with random weights: `make sdxl-size`.

    python benchmarks/sdxl_size.py [--folder runs/sdxl_size] [--small]

A folder and a single file of 7 GB each, and a ControlNet of 2.5 GB, are made once. Each run is a
process of its own, so that what it takes of main memory is its own as well. On two cores all of it
takes half an hour and 23 GB of main memory, in float32 at 512 px; the pictures show nothing.
`--small` has SDXL's layers in their number and order with a few channels of each, and takes a
minute.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from benchmarks.single_files import single_file_tensors
from portraitlib.models import single_file
from portraitlib.portrait import write_json

# SDXL's layers in their number and order, and a few channels of each.
SMALL: dict[str, dict[str, Any]] = {
    "unet": {
        "block_out_channels": [32, 64, 96],
        "attention_head_dim": [1, 2, 3],
        "transformer_layers_per_block": [1, 1, 2],
        "cross_attention_dim": 48,
        "projection_class_embeddings_input_dim": 80,
        "addition_time_embed_dim": 8,
        "sample_size": 8,
    },
    "vae": {"block_out_channels": [32, 32, 32, 32], "sample_size": 64},
    "text_encoder": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    | {"num_attention_heads": 2},
    "text_encoder_2": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3}
    | {"num_attention_heads": 2, "projection_dim": 32},
}
LARGE: dict[str, dict[str, Any]] = {"unet": {"sample_size": 64}}  # its own size is 512 px
FILES = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
    "text_encoder_2": "model",
}
PROMPT = "portrait of a man, curly hair, smiling, oil painting"
Row = dict[str, Any]


# --- the files -----------------------------------------------------------------------------------


def write_configs(folder: Path, small: bool) -> None:
    """The configs of SDXL, or of its small likeness, as a diffusers folder has them."""
    shutil.copytree(single_file.CONFIGS, folder, dirs_exist_ok=True)
    shutil.copytree(folder / "tokenizer", folder / "tokenizer_2", dirs_exist_ok=True)
    for part, changes in (SMALL if small else LARGE).items():
        path = folder / part / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def make_part(folder: Path, part: str) -> torch.nn.Module:
    """One part by its config, without weights, on the meta device."""
    import diffusers
    import transformers

    with torch.device("meta"):
        if part == "unet":
            kind = diffusers.UNet2DConditionModel
            return kind.from_config(kind.load_config(folder / part))
        if part == "vae":
            kind = diffusers.AutoencoderKL
            return kind.from_config(kind.load_config(folder / part))
        config = transformers.CLIPTextConfig.from_pretrained(folder / part)
        first = part == "text_encoder"
        name = "CLIPTextModel" if first else "CLIPTextModelWithProjection"
        return getattr(transformers, name)(config)


def random_weights(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """float16 weights of the size that fresh ones have: what goes in comes out as large."""
    weights = {}
    for name, values in network.state_dict().items():
        if values.dim() > 1:
            scale = 0.02 if "embedding.weight" in name else math.prod(values.shape[1:]) ** -0.5
            weights[name] = (torch.randn(values.shape) * scale).half()
        else:
            weights[name] = torch.full(values.shape, float("norm" in name and "weight" in name))
            weights[name] = weights[name].half()
    return weights


def build(home: Path, small: bool) -> None:
    """Make the folder, the single file and the ControlNet, each unless it is there."""
    model, lone, steering = home / "model", home / "model.safetensors", home / "controlnet"
    torch.manual_seed(0)
    if not (model / "model_index.json").is_file():
        write_configs(home / "half", small)
        for part, stem in FILES.items():
            weights = random_weights(make_part(home / "half", part))
            save_file(weights, home / "half" / part / f"{stem}.fp16.safetensors")
        (home / "half").rename(model)
    if not (steering / "config.json").is_file():
        from diffusers import ControlNetModel

        with torch.device("meta"):
            network = ControlNetModel.from_unet(
                make_part(model, "unet"), load_weights_from_unet=False
            )
        steering.mkdir(exist_ok=True)
        save_file(random_weights(network), steering / "diffusion_pytorch_model.fp16.safetensors")
        network.save_config(steering)
    if not lone.is_file():
        parts = {
            part: load_file(model / part / f"{stem}.fp16.safetensors")
            for part, stem in FILES.items()
        }
        save_file(single_file_tensors(parts), lone.with_suffix(".part"))
        lone.with_suffix(".part").rename(lone)


# --- what is measured ----------------------------------------------------------------------------


def _memory_gb(name: str) -> float:
    """VmRSS or RssAnon of this process in GB; the second counts no pages of files."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / 1e9
    return math.nan


@contextmanager
def measured(rows: list[Row], what: str) -> Iterator[Row]:
    """Add a row with the seconds and the peak of main memory of what runs inside."""
    row: Row = {"what": what, "peak_gb": 0.0, "without_files_gb": 0.0}
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            row["peak_gb"] = max(row["peak_gb"], _memory_gb("VmRSS"))
            row["without_files_gb"] = max(row["without_files_gb"], _memory_gb("RssAnon"))
            done.wait(0.02)

    thread = threading.Thread(target=watch)
    thread.start()
    start_s = time.perf_counter()
    try:
        yield row
    finally:
        row["seconds"] = round(time.perf_counter() - start_s, 2)
        done.set()
        thread.join()
        rows.append(row)
        print(json.dumps(row), flush=True)


def import_all() -> None:
    """Import what loading imports, which takes seconds that are none of its own."""
    from portraitlib.models.parts import quiet_loading

    with quiet_loading():
        from diffusers import StableDiffusionXLPipeline  # noqa: F401


def load_float16(home: Path, size_px: int, rows: list[Row], name: str) -> None:
    """Loading alone, in the number type of a GPU."""
    from portraitlib.models import files, parts

    import_all()
    weights = files.check_folder(home / "model", FILES)
    stored = sum(part.stored_bytes for part in weights.values()) / 1e9
    with measured(rows, "load the folder in float16") as row:
        row["weights_gb"] = stored
        pipeline = parts.assemble(home / "model", weights, torch.float16)
    with measured(rows, "and read once, as a copy to a GPU does"):
        for part in FILES:
            for values in getattr(pipeline, part).parameters():
                values.sum()


def load_single_file(home: Path, size_px: int, rows: list[Row], name: str) -> None:
    """The same from a single file."""
    from portraitlib.models import parts
    from portraitlib.models.load import load_model

    import_all()
    single_file.CONFIGS = home / "model"  # for its sizes, where they are not SDXL's
    with measured(rows, "load the single file in float16"):
        parts.assemble_single_file(home / "model.safetensors", torch.float16)
    with measured(rows, "load_model of the single file"):
        load_model(home / "model.safetensors")


def draw(home: Path, size_px: int, rows: list[Row], name: str) -> None:
    """Each way to draw once, one of them twice."""
    import portraitlib as pl

    with measured(rows, "load_model"):
        model = pl.load_model(home / "model")
    sampling = pl.Sampling(size_px=size_px, num_inference_steps=2, seed=1)
    with measured(rows, "text_to_image"):
        (portrait,) = pl.text_to_image(model, PROMPT, sampling)
    with measured(rows, "rerun, the same pixels"):
        again = pl.rerun(portrait.recipe, model)
    assert again.image.tobytes() == portrait.image.tobytes(), "the same seed drew another picture"
    with measured(rows, "save and open") as row:
        path = portrait.save(home / "portrait.png")
        assert pl.Portrait.open(path).recipe == portrait.recipe
        row["written_mb"] = path.stat().st_size / 1e6
    with measured(rows, "image_to_image"):
        pl.image_to_image(model, portrait.image, PROMPT, sampling, strength=0.6)
    mask = pl.select_region(portrait.image, point=(0.5, 0.5))
    with measured(rows, "inpaint"):
        pl.inpaint(model, portrait.image, mask, PROMPT, sampling)
    with measured(rows, "control_to_image"):
        edges = pl.canny(portrait.image, size_px=size_px)
        pl.control_to_image(model, edges, PROMPT, sampling, controlnet=home / "controlnet")


def train(home: Path, size_px: int, rows: list[Row], name: str) -> None:
    """Three steps of a LoRA, a checkpoint after each; of a whole run both forms of file, too."""
    from PIL import Image
    from skimage.data import astronaut

    import portraitlib as pl

    with measured(rows, f"load_model for a training ({name})"):
        model = pl.load_model(home / "model")
    folder = home / "photos"
    folder.mkdir(exist_ok=True)
    picture = Image.fromarray(astronaut())
    picture.save(folder / "1.png")
    picture.crop((60, 0, 420, 360)).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(
        folder / "2.png"
    )
    photos = pl.read_photos(folder, size_px=size_px)
    settings = pl.DreamBooth(
        instance_prompt="portrait of jrdnpl woman",
        max_train_steps=3,
        lr_warmup_steps=0,
        crop_jitter=0.0,
        save_every_steps=1,
    )
    with measured(rows, f"train_dreambooth, 3 steps ({name})"):
        adapter = pl.train_dreambooth(model, photos, settings, folder=home / name)
    if name != "whole":
        return
    with measured(rows, "with_adapter"):
        model.with_adapter(adapter)
    for form in ("diffusers", "kohya"):
        with measured(rows, f"save the adapter for {form}") as row:
            path = home / f"{form}.safetensors"
            adapter.save(path, form=form)
            row["written_mb"] = path.stat().st_size / 1e6


RUNS: dict[str, Callable[..., None]] = {
    "load_float16": load_float16,
    "load_single_file": load_single_file,
    "draw": draw,
    "train": train,
}


# --- all of it -----------------------------------------------------------------------------------


def apart(home: Path, size_px: int, run: str, name: str = "whole") -> list[str]:
    """The command of a run in a process of its own."""
    place = ["--folder", str(home), "--size", str(size_px)]
    return [sys.executable, "-m", "benchmarks.sdxl_size", *place, "--run", run, "--name", name]


def rows_of(command: list[str]) -> list[Row]:
    """The rows that a run tells, one JSON each, shown as they come; raises if it fails."""
    rows = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            if line.startswith("{"):
                rows.append(json.loads(line))
                print(line, end="", file=sys.stderr, flush=True)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return rows


def killed_and_gone_on(home: Path, size_px: int) -> list[Row]:
    """A training that is killed after its first checkpoint, and then goes on to its end."""
    first = home / "killed" / "step-000001.safetensors"
    process = subprocess.Popen(apart(home, size_px, "train", "killed"), stdout=subprocess.DEVNULL)
    while not first.is_file() and process.poll() is None:
        time.sleep(0.05)
    assert process.poll() is None, "it ended before it could be killed"
    process.kill()
    process.wait()
    checkpoint = {"what": "its checkpoint", "written_mb": first.stat().st_size / 1e6}
    rows = [checkpoint, *rows_of(apart(home, size_px, "train", "killed"))]
    whole, resumed = (
        load_file(home / name / "adapter.safetensors") for name in ("whole", "killed")
    )
    same = whole.keys() == resumed.keys() and all(whole[key].equal(resumed[key]) for key in whole)
    return [*rows, {"what": "the very weights of the run left alone", "holds": same}]


def measure_all(home: Path, small: bool) -> list[Row]:
    """Build what is missing, run everything, and write the table to `home`."""
    size_px = 64 if small else 512
    for name in ("whole", "killed"):
        shutil.rmtree(home / name, ignore_errors=True)
    home.mkdir(parents=True, exist_ok=True)
    build(home, small)
    rows = []
    for run in RUNS:
        rows += rows_of(apart(home, size_px, run))
    rows += killed_and_gone_on(home, size_px)
    write_json(home / "sdxl_size.json", {"date": time.strftime("%Y-%m-%d"), "rows": rows})
    return rows


def print_table(rows: list[Row]) -> None:
    """The rows as a table of Markdown."""
    print("| what | seconds | peak of main memory, GB | without files' pages | written, MB |")
    print("|---|---|---|---|---|")
    columns = ("seconds", "peak_gb", "without_files_gb", "written_mb")
    for row in rows:
        told = [f"{row[name]:.1f}" if name in row else "" for name in columns]
        what = row["what"] if row.get("holds", True) else f"NOT {row['what']}"
        print("|", " | ".join([what, *told]), "|")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Run everything at SDXL's full size.")
    parser.add_argument("--folder", default="runs/sdxl_size", metavar="F", help="(%(default)s)")
    parser.add_argument("--small", action="store_true", help="few channels of each layer")
    parser.add_argument("--run", choices=RUNS, help=argparse.SUPPRESS)
    parser.add_argument("--name", default="whole", help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, default=512, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    place = Path(chosen.folder).absolute()
    if chosen.run:
        RUNS[chosen.run](place, chosen.size, [], chosen.name)
    else:
        print_table(measure_all(place, chosen.small))
