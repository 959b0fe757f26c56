"""The shape of the house: rooms, one way of imports, sizes; and importing it costs nothing."""

from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
import tokenize
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "portraitlib"

# From the bottom up: a module imports its own room and what stands before it here. Nobody knows
# batch, studio or cli but those that come after.
ORDER = (
    *("settings", "portrait", "places", "device", "cost", "sheet", "show"),
    *("mini", "models", "photos", "generate", "measuring", "training"),
    *("profile", "batch", "studio", "cli"),
)
MOST_AT_THE_TOP = 9  # modules beside the rooms: a stranger reads them first
LONGEST_FILE = 400  # lines
LONGEST_FUNCTION = 50  # lines with its docstring: one screen
MOST_IN_A_ROOM = 2_200  # lines of code: an hour's reading
MOST_CODE = 13_600  # lines of code without mini; the aim is 10,000: a small library
MOST_VISITED_ONCE = 15  # modules with a single importer; the aim is 10: a door for one visitor
# Rooms and modules that load no torch: a slip in settings, photos or a command is told at once.
TORCHLESS = (
    *("settings", "portrait", "places", "cost", "sheet", "show", "photos", "measuring", "batch"),
    *(
        "cli",
        "models.files",
        "models.kohya_keys",
        "models.presets",
        "models.single_file",
        "mini.visible",
        "mini.words",
    ),
    *("generate.calls", "generate.conditions", "generate.progress", "generate.regions"),
    *("training.class_set", "training.command"),
    *("studio.dropped", "studio.explore", "studio.fields", "studio.look", "studio.recipes"),
)
NO_CODE = (
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE),
    *(tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER),
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
    """Every module by its name below the package: "cli", "photos.faces.find"; no __init__."""
    paths = (path for path in PACKAGE.rglob("*.py") if path.stem != "__init__")
    return sorted(".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in paths)


def path_of(name: str) -> Path:
    return PACKAGE / f"{name.replace('.', '/')}.py"


def room_of(name: str) -> str:
    """The room of a module, or the module itself where it stands at the top."""
    return name.split(".")[0]


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(path_of(name).read_text(encoding="utf-8"))


@cache
def imported(name: str) -> set[str]:
    """The modules of this library that a module imports when it runs, in functions too."""
    found: set[str] = set()
    waiting: list[ast.AST] = [tree(name)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            found |= (names := {alias.name for alias in node.names})
            facade = "portraitlib" in names and name != "cli"
            assert not facade, f"{name}, line {node.lineno}: import the module that you mean"
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}, line {node.lineno}: write the whole name"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
            found.add(node.module or "")
        waiting.extend(ast.iter_child_nodes(node))
    short = {full.removeprefix("portraitlib.") for full in found}
    return short & set(modules())


# --- rooms ---------------------------------------------------------------------------------------


def test_every_module_stands_in_a_room_and_few_at_the_top():
    assert {room_of(name) for name in modules()} <= set(ORDER), "add the new room to ORDER"
    top = {path.stem for path in PACKAGE.glob("*.py")}
    assert len(top) <= MOST_AT_THE_TOP, sorted(top)


def test_a_room_says_what_it_is_for_and_holds_nothing_itself():
    for room in PACKAGE.rglob("__init__.py"):
        parsed = ast.parse(room.read_text(encoding="utf-8"))
        assert ast.get_docstring(parsed), room
        assert room.parent == PACKAGE or len(parsed.body) == 1, room


@pytest.mark.parametrize("room", ORDER)
def test_imports_go_one_way(room):
    lower = ORDER[: ORDER.index(room) + 1]
    for name in (name for name in modules() if room_of(name) == room):
        upward = {other for other in imported(name) if room_of(other) not in lower}
        assert not upward, f"{name} imports {upward}, which stand above it"


def test_no_module_imports_itself_by_way_of_others():
    done: set[str] = set()

    def reach(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, f"{' -> '.join([*above, name])}"
        if name not in done:
            for other in imported(name) & set(modules()):
                reach(other, (*above, name))
            done.add(name)

    for name in modules():
        reach(name, ())


def test_nothing_in_the_package_knows_how_the_embedded_model_was_made():
    for name in modules():
        for node in ast.walk(tree(name)):
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] not in ("recipes", "tests"), name


# --- sizes ---------------------------------------------------------------------------------------


def code_lines(name: str) -> int:
    """How many lines of a module hold code: no docstring, no comment, no blank."""
    text = path_of(name).read_text(encoding="utf-8")
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NO_CODE:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree(name)):
        documented = isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module)
        if documented and ast.get_docstring(node) is not None:
            lines -= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return len(lines)


def test_files_and_functions_are_read_in_one_sitting():
    for name in modules():
        assert len(path_of(name).read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE, name
        for node in ast.walk(tree(name)):
            if isinstance(node, ast.FunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                assert length <= LONGEST_FUNCTION, f"{name}.{node.name}: {length} lines"


def test_rooms_and_the_whole_house_stay_small():
    rooms = Counter[str]()
    for name in modules():
        rooms["top" if room_of(name) == name else room_of(name)] += code_lines(name)
    assert max(rooms.values()) <= MOST_IN_A_ROOM, rooms
    assert sum(rooms.values()) - rooms["mini"] <= MOST_CODE, rooms


def test_few_modules_have_a_single_visitor():
    visitors = Counter(other for name in modules() for other in imported(name) - {name})
    facade = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    for node in (node for node in ast.walk(facade) if isinstance(node, ast.ImportFrom)):
        visitors[(node.module or "").removeprefix("portraitlib.")] += 1
    once = sorted(name for name in modules() if visitors[name] == 1)
    assert len(once) <= MOST_VISITED_ONCE, once


# --- who may ask for what ------------------------------------------------------------------------


def test_a_module_that_knows_no_torch_loads_none():
    names = [name for name in modules() if {name, room_of(name)} & set(TORCHLESS)]
    lines = ["import importlib, sys"]
    for name in names:  # in one process: the first that loads it is told
        lines += [f"importlib.import_module('portraitlib.{name}')"]
        lines += [f"assert not {{'torch', 'diffusers'}} & set(sys.modules), '{name}'"]
    assert len(names) > 40 and run("\n".join(lines)) == ""


def test_only_device_asks_for_devices():
    asked = ("cuda", "mps", "backends")
    for name in set(modules()) - {"device"}:
        for node in ast.walk(tree(name)):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "torch":
                assert node.attr not in asked, f"{name}.py, line {node.lineno}: ask device.py"


def test_only_models_loads_weights():
    for name in set(modules()) - {"models.parts"}:
        for node in ast.walk(tree(name)):
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("from_pretrained", "from_single_file"), (
                    f"{name}.py, line {node.lineno}"
                )


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
