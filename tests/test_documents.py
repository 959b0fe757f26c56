"""What README, CONTRIBUTING, CHANGELOG and docs/ say is true: links, names, commands, rooms."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

import portraitlib as pl
from portraitlib import cli

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "portraitlib"
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language; "" for those that name none."""
    text = path.read_text(encoding="utf-8")
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return [block for name, block in fenced if name == language]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_to_files(path):
    text = re.sub(r"\s+", " ", path.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert "://" in link or (path.parent / link).exists(), link


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_names_of_the_library_are_there(path):
    for name in re.findall(r"\bpl\.(\w+)", path.read_text(encoding="utf-8")):
        assert name in pl.__all__, name


def test_python_can_be_read():
    code = [block for path in PAGES for block in blocks(path, "python")]
    assert len(code) >= 4
    for block in code:
        ast.parse(block)


def test_commands_are_those_of_the_command_line():
    lines = [line for path in PAGES for block in blocks(path, "sh") for line in block.splitlines()]
    ours = [line.split(" > ")[0] for line in lines if line.startswith("portraitlib ")]
    commands = [shlex.split(line, comments=True)[1:] for line in ours]
    assert {command[0] for command in commands} == set(cli.COMMANDS)
    for command in commands:
        cli._parser().parse_args(command)


def test_make_targets_are_in_the_makefile():
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert targets
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        said = re.findall(r"`make\s+([\w-]+)", text)
        said += [word for block in blocks(path, "sh") for word in re.findall(r"^make (\S+)", block)]
        assert {*said} <= {*targets[1].split()}, path.name


def test_the_plan_in_the_readme_has_every_room_and_every_module_at_the_top():
    (plan,) = blocks(ROOT / "README.md", "")
    lines = [re.split(r"\s{2,}", line.lstrip())[0] for line in plan.splitlines() if line[0] == " "]
    rooms = {f"{path.parent.name}/" for path in PACKAGE.glob("*/__init__.py")}
    modules = {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py"}
    assert {name for line in lines for name in line.split()} == rooms | modules
    for line in plan.splitlines():
        if line[0] != " ":
            for name in re.split(r"\s{2,}", line)[0].split():
                assert (ROOT / name).is_dir(), name


def test_the_version_is_the_same_everywhere():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    newest = re.search(r"^## \[(\d.*)\] - (\S+)$", PAGES[2].read_text(), flags=re.MULTILINE)
    assert newest and newest.groups() == (version, cited["date-released"])
    assert cited["version"] == version
