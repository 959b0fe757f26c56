"""The shape of the library: imports point one way, and importing it costs nothing."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "portraitlib"

# From the bottom up. A module imports its own row and the rows above it in this list.
LAYERS = (
    ("settings", "portrait", "calls", "device", "address", "model_files", "presets", "face")
    + ("run_lock", "checkpoints", "optimizer_state", "kohya_keys", "interrupt", "repository")
    + ("colab",)
    + ("progress", "cost"),
    ("sheet", "show", "adapter_files", "adapters", "adapter_weights", "models", "captions")
    + ("photo_files", "photo_crop", "photo_audit")
    + ("faces", "faces_dlib", "faces_drawn", "faces_opencv"),
    (
        "photo_set",
        "photos",
        "contact_sheet",
        "subject",
        "pictures",
        "gallery_table",
        "gallery",
        "report",
    )
    + ("class_audit", "class_cache", "class_set"),
    (
        "regions",
        "prompts",
        "latents",
        "previews",
        "generate",
        "controlnets",
        "annotators",
        "conditions",
    ),
    ("denoise", "control", "retouch", "rerun", "class_images")
    + ("quick_layers", "training_data", "tuned", "training_step", "training_check")
    + ("training_meter", "dreambooth"),
    ("sweep", "sweep_cells", "sweep_folder", "sweep_page", "measure", "measurement")
    + ("appearance", "estimates", "fidelity", "likeness", "scores", "scoreboard", "ledger"),
    ("film", "film_choice", "film_sheet"),
    ("training_file", "training_command"),
    ("runs", "execution", "batch_plan", "batch_worker", "batch_engines")
    + ("batch_runs", "batch", "bench", "cli"),
    ("studio_recipes", "studio_fields", "studio_worker", "studio_draw", "studio_gallery")
    + ("studio_uploads", "studio_panels", "studio_sheet", "studio_look", "studio_stage")
    + ("studio_app", "studio", "studio_region"),
)
LEVEL = {module: level for level, row in enumerate(LAYERS) for module in row}
TORCHLESS = (
    *("settings", "portrait", "calls", "sheet", "show", "sweep", "address", "gallery", "batch"),
    *("cli", "sweep_cells", "sweep_folder", "sweep_page", "kohya_keys"),
    *("face", "faces", "faces_dlib", "faces_drawn", "faces_opencv", "captions"),
    *("photo_files", "photo_crop", "photo_audit", "photo_set", "photos"),
    *("contact_sheet", "subject", "pictures", "conditions", "measure", "measurement", "appearance"),
    *("estimates", "fidelity", "likeness", "run_lock", "interrupt", "cost", "runs", "execution"),
    *("class_audit", "class_cache", "class_set", "scores", "scoreboard", "ledger", "progress"),
    *("training_file", "training_command"),
    *("batch_plan", "batch_worker", "batch_engines", "batch_runs", "gallery_table", "repository"),
    *("colab", "report", "regions"),
    *("studio", "studio_recipes", "studio_fields", "studio_worker", "studio_look"),
)
HEAVY = (
    "torch",
    "diffusers",
    "transformers",
    "peft",
    "matplotlib",
    "cv2",
    "papermill",
    "numpy",
    "dlib",
)


def modules() -> list[str]:
    return sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")


@cache
def tree(name: str) -> ast.Module:
    return ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8"))


@cache
def imported(name: str) -> set[str]:
    """Full names of what a module imports when it runs, in functions too."""
    names: set[str] = set()
    waiting: list[ast.AST] = [tree(name)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            base = "portraitlib" if node.level else ""
            start = ".".join(filter(None, [base, node.module]))
            whole = start == "portraitlib"
            names |= {f"{start}.{alias.name}" if whole else start for alias in node.names}
        waiting.extend(ast.iter_child_nodes(node))
    return names


def own_imports(name: str) -> set[str]:
    """The portraitlib modules that a module imports, by first name ("mini" for all of mini)."""
    return {full.split(".")[1] for full in imported(name) if full.startswith("portraitlib.")}


def test_every_module_has_its_place():
    assert set(modules()) <= set(LEVEL), "add the new module to LAYERS"


@pytest.mark.parametrize("name", modules())
def test_imports_point_down(name):
    upward = {other for other in own_imports(name) if LEVEL.get(other, -1) > LEVEL[name]}
    assert not upward, f"{name} imports {upward}, which lie above it"


def test_no_two_modules_import_each_other():
    def reach(name: str, seen: frozenset[str]) -> None:
        assert name not in seen, f"{name} imports itself by way of {sorted(seen)}"
        for other in own_imports(name) & set(modules()):
            reach(other, seen | {name})

    for name in modules():
        reach(name, frozenset())


def test_only_notebooks_import_the_studio():
    assert not [name for name in modules() if "studio" in own_imports(name)]


@pytest.mark.parametrize("name", [name for name in TORCHLESS if name in modules()])
def test_a_module_that_knows_no_torch_loads_none(name):
    assert loaded_by(f"import portraitlib.{name}").isdisjoint({"torch", "diffusers"})


def test_only_device_asks_for_devices():
    asked = ("cuda", "mps", "backends")
    for name in set(modules()) - {"device"}:
        for node in ast.walk(tree(name)):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "torch":
                assert node.attr not in asked, f"{name}.py, line {node.lineno}: ask device.py"


def test_only_models_loads_weights():
    for name in set(modules()) - {"models"}:
        for node in ast.walk(tree(name)):
            if isinstance(node, ast.Attribute):
                assert node.attr != "from_pretrained", f"{name}.py, line {node.lineno}"


def test_importing_the_library_loads_nothing_heavy():
    assert loaded_by("import portraitlib").isdisjoint(HEAVY)


def test_importing_the_library_is_quick():
    # Time on the processor: the wall clock of a busy machine says nothing.
    code = (
        "import time; t = time.process_time(); import portraitlib; print(time.process_time() - t)"
    )
    fastest_s = min(float(run(code)) for _ in range(3))
    assert fastest_s <= 0.3


def loaded_by(code: str) -> set[str]:
    """Top-level modules in a fresh process after `code`."""
    listing = "import sys, json; print(json.dumps([m.split('.')[0] for m in sys.modules]))"
    return set(json.loads(run(f"{code}\n{listing}")))


def run(code: str) -> str:
    """What a fresh process prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
