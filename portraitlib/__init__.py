"""Portraits of a person from a text-to-image model: make, steer, measure and compare them.

Importing the package loads no torch, makes no folder and touches no network: each name below is
fetched from its module when it is first used.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # every public name, said once: type checkers read it, and so does __getattr__
    from portraitlib.batch.results import report, save_results
    from portraitlib.cost import Budget, BudgetSpent, Meter
    from portraitlib.generate.conditions import Condition, canny, make_condition
    from portraitlib.generate.control import control_to_image, control_to_image_variants
    from portraitlib.generate.controlnets import load_controlnet
    from portraitlib.generate.images import image_to_image, text_to_image
    from portraitlib.generate.inpaint import inpaint
    from portraitlib.generate.progress import print_progress
    from portraitlib.generate.regions import select_region
    from portraitlib.generate.rerun import rerun
    from portraitlib.measuring.blind import read_answers
    from portraitlib.measuring.measure import measure
    from portraitlib.measuring.result import Measurement
    from portraitlib.measuring.scoreboard import read_scores, score, write_scores
    from portraitlib.measuring.sweep import SweepTable, sweep
    from portraitlib.models.adapters import Adapter
    from portraitlib.models.load import Model, load_model
    from portraitlib.models.presets import PRESETS, Preset
    from portraitlib.photos.contact_sheet import show_photos
    from portraitlib.photos.photo_set import Likeness, Photo, PhotoSet, picture_set
    from portraitlib.photos.read import read_photos
    from portraitlib.photos.subject import subject_photos, subject_portrait
    from portraitlib.portrait import Portrait
    from portraitlib.profile.handover import ProfilePictures, show_paths
    from portraitlib.profile.make import draw_again, make_portraits
    from portraitlib.profile.styles import STYLES, Style
    from portraitlib.settings import Control, DreamBooth, Sampling, UsageError
    from portraitlib.show import (
        Curve,
        show_curves,
        show_grid,
        show_rows,
        show_strip,
        show_table,
    )
    from portraitlib.studio.app import open_studio
    from portraitlib.studio.explore import ask, explore, mark_region, pick_region
    from portraitlib.training.checkpoints import Progress
    from portraitlib.training.class_images import (
        class_images_cost,
        make_class_images,
        style_strangers,
    )
    from portraitlib.training.class_set import ClassImages, read_class_images, show_class_images
    from portraitlib.training.dreambooth import train_dreambooth
    from portraitlib.training.film import (
        Film,
        Frame,
        film_strip,
        propose,
        read_film,
        show_film,
        show_training,
    )


def _homes() -> dict[str, str]:
    """Public name -> the module that defines it, as the imports above have them."""
    tree = ast.parse(Path(__file__).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in imports if (node.module or "").startswith("portraitlib.")]
    return {alias.name: node.module or "" for node in ours for alias in node.names}


_HOMES = _homes()
__all__ = [*sorted(_HOMES), "__version__"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from portraitlib.places import installed_version

        return installed_version("portraitlib") or "unknown"  # a checkout that was not installed
    if name not in _HOMES:
        raise AttributeError(f"module 'portraitlib' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
