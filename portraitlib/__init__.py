"""Portraits of a person from a text-to-image model: make, steer, measure and compare them.

Importing the package loads no torch, makes no folder and touches no network: each name below
is fetched from its module when it is first used.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers and editors, which do not run __getattr__
    from portraitlib.adapters import Adapter
    from portraitlib.class_images import class_images_cost, make_class_images, read_class_images
    from portraitlib.class_set import ClassImages
    from portraitlib.conditions import Condition, canny, make_condition
    from portraitlib.contact_sheet import show_class_images, show_photos
    from portraitlib.control import control_to_image, control_to_image_variants
    from portraitlib.controlnets import load_controlnet
    from portraitlib.cost import Budget, BudgetSpent, Meter
    from portraitlib.dreambooth import train_dreambooth
    from portraitlib.film import Film, Frame, film_strip, read_film
    from portraitlib.film_choice import propose
    from portraitlib.film_sheet import show_film, show_training
    from portraitlib.gallery import save_results
    from portraitlib.generate import image_to_image, text_to_image
    from portraitlib.measure import measure
    from portraitlib.measurement import Measurement
    from portraitlib.models import Model, load_model
    from portraitlib.photo_set import Photo, PhotoSet, picture_set
    from portraitlib.photos import read_photos
    from portraitlib.portrait import Portrait
    from portraitlib.presets import PRESETS, Preset
    from portraitlib.progress import print_progress
    from portraitlib.regions import select_region
    from portraitlib.report import report
    from portraitlib.rerun import rerun
    from portraitlib.retouch import inpaint
    from portraitlib.settings import Control, DreamBooth, Sampling, UsageError
    from portraitlib.show import show_grid
    from portraitlib.subject import subject_photos
    from portraitlib.sweep import SweepTable, sweep
    from portraitlib.training_meter import Progress

    __version__: str

# name -> the module that defines it
_HOMES = {
    "UsageError": "settings",
    "Control": "settings",
    "DreamBooth": "settings",
    "train_dreambooth": "dreambooth",
    "Progress": "training_meter",
    "film_strip": "film",
    "read_film": "film",
    "propose": "film_choice",
    "show_film": "film_sheet",
    "show_training": "film_sheet",
    "Film": "film",
    "Frame": "film",
    "Sampling": "settings",
    "Portrait": "portrait",
    "Photo": "photo_set",
    "PhotoSet": "photo_set",
    "picture_set": "photo_set",
    "read_photos": "photos",
    "subject_photos": "subject",
    "PRESETS": "presets",
    "Preset": "presets",
    "Adapter": "adapters",
    "Model": "models",
    "load_model": "models",
    "text_to_image": "generate",
    "image_to_image": "generate",
    "ClassImages": "class_set",
    "make_class_images": "class_images",
    "read_class_images": "class_images",
    "class_images_cost": "class_images",
    "Condition": "conditions",
    "canny": "conditions",
    "make_condition": "conditions",
    "control_to_image": "control",
    "control_to_image_variants": "control",
    "load_controlnet": "controlnets",
    "select_region": "regions",
    "inpaint": "retouch",
    "print_progress": "progress",
    "rerun": "rerun",
    "sweep": "sweep",
    "SweepTable": "sweep",
    "measure": "measure",
    "Measurement": "measurement",
    "show_grid": "show",
    "show_photos": "contact_sheet",
    "show_class_images": "contact_sheet",
    "save_results": "gallery",
    "report": "report",
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


class _Package(ModuleType):
    """Keeps `portraitlib.sweep` the function after `import portraitlib.sweep`, the module.

    Python sets an imported submodule as an attribute of its package, which would hide an
    exported function of the same name.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
