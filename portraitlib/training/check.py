"""What can be said of a training before anything is computed."""

from __future__ import annotations

import importlib.util
import math
import re
import warnings
from dataclasses import replace

from portraitlib.device import DTYPES, computes_bfloat16, pick_dtype
from portraitlib.models.load import Model
from portraitlib.photos.photo_set import PhotoSet
from portraitlib.settings import DreamBooth, UsageError
from portraitlib.training.class_set import ClassImages

LEAST_PHOTOS = 2
# They name no class.
PLAIN_WORDS = {
    *("a", "an", "the", "of", "in", "on", "at", "with", "and"),
    *("portrait", "photo", "picture", "photorealistic"),
}
FULL_SHARE = 0.05  # of a LoRA's learning rate, where all weights move together
EXTRAS = {"adamw8bit": "bitsandbytes", "prodigy": "prodigyopt"}


def check_training(
    model: Model, photos: PhotoSet, settings: DreamBooth, class_images: ClassImages | None
) -> DreamBooth:
    """The settings with the preset's defaults in place of None.

    Raises UsageError for what cannot be trained with; warns of an identifier that is a word.
    """
    for name, value, kind, expected in (
        ("model", model, Model, "a loaded model; try load_model('mini')"),
        ("photos", photos, PhotoSet, "a PhotoSet; try read_photos('my_photos/')"),
        ("settings", settings, DreamBooth, "DreamBooth(...)"),
        ("class_images", class_images, ClassImages | None, "ClassImages or None"),
    ):
        if not isinstance(value, kind):
            raise UsageError(f"{name}: got {type(value).__name__}, expected {expected}")
    if len(photos) < LEAST_PHOTOS:
        raise UsageError(
            f"photos: got {len(photos)} that can be used, expected {LEAST_PHOTOS} or more, better "
            "8 to 20; see photos.report"
        )
    chosen = fill_training(model, photos, settings)
    _check_extra(chosen)
    _check_fit(model, chosen, class_images)
    if class_images is not None and settings.class_prompt is not None:
        raise UsageError(
            "DreamBooth.class_prompt: given beside class_images, which have a prompt of their own; "
            "leave one of them out"
        )
    captions = {settings.instance_prompt or photo.caption for photo in photos}
    class_prompt = class_images.prompt if class_images else settings.class_prompt
    if class_prompt:
        _check_class(captions, class_prompt)
    _check_identifier(model, photos.identifier, captions)
    return chosen


def fill_training(model: Model, photos: PhotoSet, settings: DreamBooth) -> DreamBooth:
    """The settings with the preset's defaults in place of None, and the steps counted."""
    defaults = {
        name: value
        for name, value in model.preset.training.items()
        if getattr(settings, name) is None
    }
    if settings.tune == "full" and "learning_rate" in defaults:
        defaults["learning_rate"] *= FULL_SHARE
    if settings.num_train_epochs is not None:
        count = settings.train_batch_size or defaults["train_batch_size"]
        steps = math.ceil(settings.num_train_epochs * len(photos) / count)
        defaults["max_train_steps"] = steps
    filled = replace(settings, **(defaults | {"num_train_epochs": None}))
    precision = filled.precision
    if precision == "fast":
        precision = "bfloat16" if computes_bfloat16(model.device) else None
    return replace(filled, alpha=filled.alpha or filled.rank, precision=precision)


def _check_extra(settings: DreamBooth) -> None:
    package = EXTRAS.get(settings.optimizer)
    if package and importlib.util.find_spec(package) is None:
        raise UsageError(
            f"DreamBooth.optimizer: {settings.optimizer!r} needs the package {package}; "
            f"pip install {package}, or try 'adamw'"
        )
    if settings.tune == "full" and settings.text_learning_rate:
        raise UsageError(
            "DreamBooth.text_learning_rate: got "
            f"{settings.text_learning_rate:g} with tune='full', which trains the UNet alone; "
            "try tune='lora', or text_learning_rate=0"
        )


def _check_fit(model: Model, settings: DreamBooth, class_images: ClassImages | None) -> None:
    """Raise UsageError for what this model, where it is, cannot be trained with."""
    mixed = settings.precision == "bfloat16" and computes_bfloat16(model.device)
    if settings.precision is not None and not mixed:
        try:
            dtype = pick_dtype(model.device, model.preset.gpu_dtype, settings.precision)
        except UsageError as problem:
            reason = str(problem).removeprefix("dtype: ")
            raise UsageError(f"DreamBooth.precision: {reason}") from None
        if dtype == DTYPES["float32"] and model.dtype != dtype:
            raise UsageError(
                f"DreamBooth.precision: got 'float32' with a model in {model.dtype_name}; leave it "
                f"out, or try load_model({model.name!r}, dtype='float32')"
            )
    if settings.tune == "full" and model.adapters:
        raise UsageError(
            f"DreamBooth.tune: got 'full' for {model}, expected a model without adapters, whose "
            "weights they would be mixed with; try tune='lora'"
        )
    size_px = model.preset.size_px
    if class_images is not None and not len(class_images):
        raise UsageError("class_images: got none, expected 1 or more; or give None")
    if class_images is not None and class_images.size_px != size_px:
        raise UsageError(
            f"class_images: got pictures of {class_images.size_px} px, expected {size_px} px, the "
            f"size that {model.name} draws; try class_images.resized({size_px})"
        )


def _check_class(captions: set[str], class_prompt: str) -> None:
    """Raise UsageError unless what is prior-preserved is named in what is taught."""
    named = _words(class_prompt) - PLAIN_WORDS
    for caption in sorted(captions):
        if not named & _words(caption):
            near = " or ".join(sorted(named)) or "the class"
            raise UsageError(
                f"class prompt: none of the words of {class_prompt!r} is in the instance prompt "
                f"{caption!r}, so it preserves another class; try one with {near} in it"
            )


def _check_identifier(model: Model, identifier: str, captions: set[str]) -> None:
    """Warn of an identifier that means something already, or that no caption has."""
    warning = None
    if not any(identifier.lower() in _words(caption) for caption in captions):
        warning = (
            f"instance prompt: the identifier {identifier!r} is not in it; prompts will have to "
            f"say {sorted(captions)[0]!r}"
        )
    elif f"{identifier.lower()}</w>" in model.pipeline.tokenizer.get_vocab():
        warning = (
            f"identifier: {identifier!r} is a word that {model.name} knows as one piece, so it "
            "brings a meaning of its own; try rare letters such as 'jrdnpl'"
        )
    if warning:
        warnings.warn(warning, stacklevel=4)


def _words(text: str) -> set[str]:
    return set(re.findall(r"[\w'-]+", text.lower()))
