"""Portraits of a person from a text-to-image model: make, steer, measure and compare them.

Importing the package loads no torch, makes no folder and touches no network: each name below
is fetched from its module when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers and editors, which do not run __getattr__
    from portraitlib.batch.gallery import save_results
    from portraitlib.batch.report import report
    from portraitlib.cost import Budget, BudgetSpent, Meter
    from portraitlib.generate.conditions import Condition, canny, make_condition
    from portraitlib.generate.control import control_to_image, control_to_image_variants
    from portraitlib.generate.controlnets import load_controlnet
    from portraitlib.generate.images import image_to_image, text_to_image
    from portraitlib.generate.inpaint import inpaint
    from portraitlib.generate.progress import print_progress
    from portraitlib.generate.regions import select_region
    from portraitlib.generate.rerun import rerun
    from portraitlib.measuring.measure import measure
    from portraitlib.measuring.result import Measurement
    from portraitlib.measuring.sweep import SweepTable, sweep
    from portraitlib.models.adapters import Adapter
    from portraitlib.models.load import Model, load_model
    from portraitlib.models.presets import PRESETS, Preset
    from portraitlib.photos.contact_sheet import show_photos
    from portraitlib.photos.photo_set import Photo, PhotoSet, picture_set
    from portraitlib.photos.read import read_photos
    from portraitlib.photos.subject import subject_photos
    from portraitlib.portrait import Portrait
    from portraitlib.settings import Control, DreamBooth, Sampling, UsageError
    from portraitlib.show import show_grid
    from portraitlib.training.class_images import (
        class_images_cost,
        make_class_images,
        read_class_images,
    )
    from portraitlib.training.class_set import ClassImages, show_class_images
    from portraitlib.training.dreambooth import train_dreambooth
    from portraitlib.training.film import Film, Frame, film_strip, read_film
    from portraitlib.training.film_choice import propose
    from portraitlib.training.film_sheet import show_film, show_training
    from portraitlib.training.meter import Progress

    __version__: str

# name -> the module that defines it
_HOMES = {
    "UsageError": "settings",
    "Control": "settings",
    "DreamBooth": "settings",
    "train_dreambooth": "training.dreambooth",
    "Progress": "training.meter",
    "film_strip": "training.film",
    "read_film": "training.film",
    "propose": "training.film_choice",
    "show_film": "training.film_sheet",
    "show_training": "training.film_sheet",
    "Film": "training.film",
    "Frame": "training.film",
    "Sampling": "settings",
    "Portrait": "portrait",
    "Photo": "photos.photo_set",
    "PhotoSet": "photos.photo_set",
    "picture_set": "photos.photo_set",
    "read_photos": "photos.read",
    "subject_photos": "photos.subject",
    "PRESETS": "models.presets",
    "Preset": "models.presets",
    "Adapter": "models.adapters",
    "Model": "models.load",
    "load_model": "models.load",
    "text_to_image": "generate.images",
    "image_to_image": "generate.images",
    "ClassImages": "training.class_set",
    "make_class_images": "training.class_images",
    "read_class_images": "training.class_images",
    "class_images_cost": "training.class_images",
    "Condition": "generate.conditions",
    "canny": "generate.conditions",
    "make_condition": "generate.conditions",
    "control_to_image": "generate.control",
    "control_to_image_variants": "generate.control",
    "load_controlnet": "generate.controlnets",
    "select_region": "generate.regions",
    "inpaint": "generate.inpaint",
    "print_progress": "generate.progress",
    "rerun": "generate.rerun",
    "sweep": "measuring.sweep",
    "SweepTable": "measuring.sweep",
    "measure": "measuring.measure",
    "Measurement": "measuring.result",
    "show_grid": "show",
    "show_photos": "photos.contact_sheet",
    "show_class_images": "training.class_set",
    "save_results": "batch.gallery",
    "report": "batch.report",
    "Budget": "cost",
    "BudgetSpent": "cost",
    "Meter": "cost",
}

__all__ = [
    "PRESETS",
    "Adapter",
    "Budget",
    "BudgetSpent",
    "ClassImages",
    "Condition",
    "Control",
    "DreamBooth",
    "Film",
    "Frame",
    "Measurement",
    "Meter",
    "Model",
    "Photo",
    "PhotoSet",
    "Portrait",
    "Preset",
    "Progress",
    "Sampling",
    "SweepTable",
    "UsageError",
    "__version__",
    "canny",
    "class_images_cost",
    "control_to_image",
    "control_to_image_variants",
    "film_strip",
    "image_to_image",
    "inpaint",
    "load_controlnet",
    "load_model",
    "make_class_images",
    "make_condition",
    "measure",
    "picture_set",
    "print_progress",
    "propose",
    "read_class_images",
    "read_film",
    "read_photos",
    "report",
    "rerun",
    "save_results",
    "select_region",
    "show_class_images",
    "show_film",
    "show_grid",
    "show_photos",
    "show_training",
    "subject_photos",
    "sweep",
    "text_to_image",
    "train_dreambooth",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("portraitlib")
        except PackageNotFoundError:  # a checkout that was not installed
            return "unknown"
    if name not in _HOMES:
        raise AttributeError(f"module 'portraitlib' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"portraitlib.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
