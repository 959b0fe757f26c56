"""Draw a portrait again from its recipe."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from PIL import Image

from portraitlib.device import pick_device
from portraitlib.generate.control import AnyCondition, control_to_image, fit_conditions
from portraitlib.generate.images import image_to_image, text_to_image
from portraitlib.generate.inpaint import inpaint
from portraitlib.generate.regions import read_mask
from portraitlib.models.load import Model, load_model
from portraitlib.photos.pictures import Picture, open_picture, picture_hash, ready_picture
from portraitlib.portrait import Portrait
from portraitlib.settings import Control, Sampling, UsageError

# The entries of a recipe that have to be the same for the same pixels, besides its settings.
REPRODUCING = ("model_revision", "vae", "adapter", "device", "dtype", "cpu_threads", "versions")
SETTINGS = tuple(setting.name for setting in fields(Sampling))
# What Control's fields are called in recipes.
CONTROL_ENTRIES = {
    "scale": "controlnet_conditioning_scale",
    "start": "control_guidance_start",
    "end": "control_guidance_end",
    "guess_mode": "guess_mode",
}


def rerun(
    recipe: dict[str, Any] | Portrait,
    model: Model | None = None,
    image: Picture | None = None,
    condition: AnyCondition | Sequence[AnyCondition] | None = None,
    mask: Any = None,
) -> Portrait:
    """Draw a portrait again: the same pixels on the same machine with the same libraries.

    A portrait that was drawn in a batch is drawn in the whole batch again, because the last bits
    of its numbers depend on it.
    model: a loaded model to use; None loads the one that the recipe names.
    image, condition, mask: the picture that the drawing started from, what steered it, and which
        region of it was drawn; a recipe knows them by their content only.

    Warns of what differs from the recipe. Raises UsageError for a recipe that lacks something, or
    another picture, condition, mask or adapter than the recipe's.
    """
    recipe = recipe.recipe if isinstance(recipe, Portrait) else recipe
    _check_recipe(recipe)
    batch = Sampling(**{name: recipe[name] for name in SETTINGS} | {"seed": recipe["batch_seed"]})
    index = recipe["seed"] - batch.seed
    if index not in range(batch.num_images):
        raise UsageError(
            f"recipe: seed {recipe['seed']} is not in its batch of {batch.num_images} from "
            f"{batch.seed}"
        )
    image = _picture_of(recipe, image)
    inputs = {"image": image, "condition": _conditions_of(recipe, condition)}
    inputs["mask"] = _mask_of(recipe, mask, image)
    model = model or _model_of(recipe)
    _check_adapters(recipe, model)
    again = DRAWN_AGAIN[recipe["function"]](model, recipe, batch, **inputs)[index]
    changed = _differences(recipe, again.recipe)
    if changed:
        warnings.warn(
            f"the picture may differ from the recipe's: {'; '.join(changed)}", stacklevel=2
        )
    return again


def _text(model: Model, recipe: dict[str, Any], batch: Sampling, **_: Any) -> list[Portrait]:
    return text_to_image(model, recipe["prompt"], batch)


def _image(
    model: Model, recipe: dict[str, Any], batch: Sampling, image: Any, **_: Any
) -> list[Portrait]:
    return image_to_image(model, image, recipe["prompt"], batch, strength=recipe["strength"])


def _inpaint(
    model: Model, recipe: dict[str, Any], batch: Sampling, image: Any, mask: Any, **_: Any
) -> list[Portrait]:
    how = {name: recipe[name] for name in ("strength", "feather")}
    return inpaint(model, image, mask, recipe["prompt"], batch, **how)


def _control(
    model: Model, recipe: dict[str, Any], batch: Sampling, image: Any, condition: Any, **_: Any
) -> list[Portrait]:
    entries = {name: _listed(recipe[entry]) for name, entry in CONTROL_ENTRIES.items()}
    rows = zip(*entries.values(), strict=True)
    controls = [Control(**dict(zip(entries, row, strict=True))) for row in rows]
    named = zip(_listed(recipe["controlnet"]), _listed(recipe["controlnet_revision"]), strict=True)
    start = {} if image is None else {"image": image, "strength": recipe["strength"]}
    sources = [_source(model, name, revision) for name, revision in named]
    return control_to_image(
        model, condition, recipe["prompt"], batch, controls, controlnet=sources, **start
    )


# function -> what draws its recipes again.
DRAWN_AGAIN: dict[str, Callable[..., list[Portrait]]] = {
    "text_to_image": _text,
    "image_to_image": _image,
    "control_to_image": _control,
    "inpaint": _inpaint,
}
# What the recipe of each function holds beyond those of all.
OWN_ENTRIES: dict[str, tuple[str, ...]] = {
    "text_to_image": (),
    "image_to_image": ("strength", "image"),
    "control_to_image": (
        *CONTROL_ENTRIES.values(),
        *("condition", "controlnet", "controlnet_revision"),
    ),
    "inpaint": ("strength", "feather", "image", "mask"),
}


def _listed(entry: Any) -> list[Any]:
    return entry if isinstance(entry, list) else [entry]


def _source(model: Model, name: str, revision: str) -> str | None:
    """The control model that a recipe names, where it was loaded from."""
    if name in (model.preset.name, model.preset.controlnet_source):
        return None
    return name if revision.startswith("sha256:") else f"{name}@{revision}"


def _check_recipe(recipe: dict[str, Any]) -> None:
    """Raise UsageError unless a function here wrote this recipe, whole."""
    function = recipe.get("function")
    own = OWN_ENTRIES.get(str(function), ())
    needed = {"function", "prompt", "model", "batch_seed", *SETTINGS, *REPRODUCING, *own}
    missing = sorted(needed - set(recipe))
    if missing or function not in OWN_ENTRIES:
        raise UsageError(
            f"recipe: expected one that {' or '.join(OWN_ENTRIES)} wrote, got {function!r}"
            + (f" without {', '.join(missing)}" if missing else "")
        )
    entries = recipe["adapter"] or []
    whole = {"identifier", "hash", "scale"}
    if not isinstance(entries, list) or not all(whole <= set(entry) for entry in entries):
        raise UsageError(
            f"recipe: got {recipe['adapter']!r} as its adapter, expected a list of what each is"
        )


def _differences(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What is not as it was, among the entries that pixels depend on."""
    names = [name for name in REPRODUCING if name != "versions"]
    names += ["controlnet_revision"] if "controlnet_revision" in now else []
    pairs = {name: (then[name], now[name]) for name in names}
    for library, current in now["versions"].items():
        pairs[library] = (then["versions"].get(library), current)
    return [f"{name} was {old}, is {new}" for name, (old, new) in pairs.items() if old != new]


def _picture_of(recipe: dict[str, Any], image: Picture | None) -> Image.Image | None:
    """The picture that a recipe starts from, made ready; raises UsageError if it is another."""
    wanted = recipe.get("image")
    if wanted is None and image is None:
        return None
    if wanted is None:
        raise UsageError(
            f"image: got one, but this {recipe['function']} starts from none; leave it out"
        )
    if image is None:
        raise UsageError(
            "image: got none, expected the picture that the recipe started from; "
            "try rerun(recipe, image=...)"
        )
    if recipe["function"] == "inpaint":  # which cuts nothing off
        picture = open_picture(image)
    else:
        picture, _ = ready_picture(image, recipe["size_px"])
    if picture_hash(picture) != wanted:
        raise UsageError(
            f"image: got another picture ({picture_hash(picture)[:19]}...) than the recipe started "
            f"from ({str(wanted)[:19]}...); try the same file again"
        )
    return picture


def _mask_of(recipe: dict[str, Any], mask: Any, image: Any) -> Image.Image | None:
    """The mask of a recipe; raises UsageError if it is another, or there should be none."""
    if "mask" not in recipe and mask is None:
        return None
    if "mask" not in recipe or mask is None:
        expected = "the region that was drawn; try mask=..." if mask is None else "none"
        raise UsageError(f"mask: {recipe['function']} expects {expected}")
    chosen = Image.fromarray(read_mask(mask, image.size))
    if picture_hash(chosen) != recipe["mask"]:
        raise UsageError("mask: got another one than the recipe's; try the same region again")
    return chosen


def _conditions_of(recipe: dict[str, Any], condition: Any) -> list[Any] | None:
    """The conditions that steered a recipe, made ready; raises UsageError if they are others."""
    if "condition" not in recipe and condition is None:
        return None
    if "condition" not in recipe:
        raise UsageError(
            f"condition: got one, but {recipe['function']} is steered by none; leave it out"
        )
    if condition is None:
        raise UsageError(
            "condition: got none, expected what steered the recipe; try rerun(recipe, "
            "condition=pl.canny(photo))"
        )
    fitted, _ = fit_conditions(condition, recipe["size_px"])
    wanted = [entry["image"] for entry in _listed(recipe["condition"])]
    found = [each.hash for each in fitted]
    if found != wanted:
        raise UsageError(
            f"condition: got another ({', '.join(f[:19] for f in found)}...) than steered the "
            f"recipe ({', '.join(w[:19] for w in wanted)}...); try the same photo and thresholds"
        )
    return fitted


def _check_adapters(recipe: dict[str, Any], model: Model) -> None:
    """Raise UsageError unless the model holds what the recipe was drawn with, in any order."""

    def plain(entries: Any) -> list[tuple[str, float]]:
        return sorted((entry["hash"], entry["scale"]) for entry in entries or ())

    if plain(recipe["adapter"]) != plain(model.adapter_entries):
        raise UsageError(
            f"recipe: drawn with {_told(recipe['adapter'])}, but the model holds "
            f"{_told(model.adapter_entries)}; try model.with_adapter(adapter, scale) for each"
        )


def _told(entries: Any) -> str:
    """Adapters as a recipe has them, in words."""
    told = [
        f"{entry['identifier']} ({entry['hash']}) at {entry['scale']:g}" for entry in entries or ()
    ]
    return "the adapter " + " and ".join(told) if told else "no adapter"


def _model_of(recipe: dict[str, Any]) -> Model:
    """The model that a recipe names, on the recipe's device where that is here."""
    if recipe["adapter"] is not None:
        raise UsageError(
            f"recipe: drawn with {_told(recipe['adapter'])}; try rerun(recipe, "
            'load_model(...).with_adapter(Adapter.open("its file"), scale))'
        )
    from_hub = not str(recipe["model_revision"]).startswith("sha256:")
    revision = recipe["model_revision"] if from_hub else None
    try:
        device = pick_device(recipe["device"])
    except UsageError:  # the recipe is from another machine; rerun warns of what differs
        return load_model(recipe["model"], revision=revision)
    return load_model(recipe["model"], device, dtype=recipe["dtype"], revision=revision)
