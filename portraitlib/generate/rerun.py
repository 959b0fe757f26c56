"""Draw a portrait again from its recipe."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any, NamedTuple

from PIL import Image

from portraitlib.device import pick_device
from portraitlib.generate.control import AnyCondition, control_to_image, fit_conditions
from portraitlib.generate.images import image_to_image, text_to_image
from portraitlib.generate.inpaint import inpaint
from portraitlib.generate.regions import read_mask
from portraitlib.models.load import Model, load_model
from portraitlib.photos.photo_set import Likeness, PhotoSet
from portraitlib.photos.pictures import Picture, open_picture, picture_hash, ready_picture
from portraitlib.portrait import Portrait, Recipe
from portraitlib.settings import Control, Sampling, UsageError, check_record

# The entries of a recipe that have to be the same for the same pixels, besides its settings.
REPRODUCING = ("model_revision", "vae", "adapter", "device", "dtype", "cpu_threads", "versions")
SETTINGS = tuple(s.name for s in fields(Sampling) if s.name != "speed")  # new in version 0.2
# Of each condition: its control model, and the fields of its Control in their order.
STEERING = (
    "controlnet",
    "controlnet_revision",
    "controlnet_conditioning_scale",
    "control_guidance_start",
    "control_guidance_end",
    "guess_mode",
)


def rerun(
    recipe: dict[str, Any] | Portrait,
    model: Model | None = None,
    image: Picture | None = None,
    condition: AnyCondition | Sequence[AnyCondition] | None = None,
    mask: Any = None,
    person: PhotoSet | Likeness | None = None,
) -> Portrait:
    """Draw a portrait again: the same pixels on the same machine with the same libraries.

    A portrait that was drawn in a batch is drawn in the whole batch again, because the last bits
    of its numbers depend on it.
    model: a loaded model to use; None loads the one that the recipe names.
    image, condition, mask, person: the picture that the drawing started from, what steered it,
        which region of it was drawn, and whose photos; a recipe knows them by their content only.

    Warns of what differs from the recipe. Raises UsageError for a recipe that lacks something, or
    another picture, condition, mask or adapter than the recipe's.
    """
    then = _checked(recipe.recipe if isinstance(recipe, Portrait) else recipe)
    batch = check_record("recipe", {**then, "seed": then["batch_seed"]}, Sampling)
    index = then["seed"] - batch.seed
    if index not in range(batch.num_images):
        raise UsageError(
            f"recipe: seed {then['seed']} is not in its batch of {batch.num_images} from "
            f"{batch.seed}"
        )
    inputs = _inputs_of(
        then, {"image": image, "condition": condition, "mask": mask, "person": person}
    )
    model = model or _model_of(then)
    _check_adapters(then, model)
    function = FUNCTIONS[then["function"]]
    given = inputs | {name: then[name] for name in function.settings}  # type: ignore[literal-required]
    if "image" in inputs:
        given["strength"] = then["strength"]
    again = function.draw(model, prompt=then["prompt"], sampling=batch, **given)[index]
    changed = _differences(then, again.recipe)
    if changed:
        warnings.warn(
            f"the picture may differ from the recipe's: {'; '.join(changed)}", stacklevel=2
        )
    return again


def _control(
    model: Model, condition: Any, prompt: str, sampling: Sampling, **entries: Any
) -> list[Portrait]:
    """What control_to_image draws under settings as a recipe calls them."""
    columns = [_listed(entries.pop(name)) for name in STEERING]
    if len({len(column) for column in columns}) != 1:
        raise UsageError(f"recipe: got lists of several lengths, expected one in {STEERING}")
    names, revisions, *rest = columns
    controls = [Control(*row) for row in zip(*rest, strict=True)]
    sources = [_source(model, name, of) for name, of in zip(names, revisions, strict=True)]
    return control_to_image(
        model, condition, prompt, sampling, controls, controlnet=sources, **entries
    )


class Function(NamedTuple):
    """How recipes of a function are drawn again.

    inputs: what it draws from, if the recipe has an entry of that name.  needed: those that it
    always has.  settings: the entries that it takes by the same name, besides a strength.
    """

    draw: Callable[..., list[Portrait]]
    inputs: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()


FUNCTIONS = {
    "text_to_image": Function(text_to_image, ("person",)),
    "image_to_image": Function(image_to_image, ("image", "person"), ("image",)),
    "control_to_image": Function(
        _control, ("image", "condition", "person"), ("condition",), STEERING
    ),
    "inpaint": Function(inpaint, ("image", "mask", "person"), ("image", "mask"), ("feather",)),
}
# What each input is to a recipe, and how to come by the same.
INPUTS = {
    "image": ("the picture that the recipe started from", "the same file"),
    "condition": ("what steered the recipe", "the same photo and thresholds"),
    "mask": ("the region that was drawn", "the same region"),
    "person": ("whose photos spoke beside the words", "the same photos"),
}


def _listed(entry: Any) -> list[Any]:
    return entry if isinstance(entry, list) else [entry]


def _source(model: Model, name: str, revision: str) -> str | None:
    """The control model that a recipe names, where it was loaded from."""
    if name in (model.preset.name, model.preset.controlnet_source):
        return None
    return name if revision.startswith("sha256:") else f"{name}@{revision}"


def _checked(recipe: Any) -> Recipe:
    """The recipe as a record; raises UsageError unless a function here wrote it, whole."""
    then = check_record("recipe", recipe, Recipe)
    function = then.get("function", "")
    needed = {"function", "prompt", "model", "batch_seed", *SETTINGS, *REPRODUCING}
    if function in FUNCTIONS:
        needed |= {*FUNCTIONS[function].needed, *FUNCTIONS[function].settings}
    needed |= {"strength"} if "image" in then else set()
    missing = sorted(needed - set(then))
    if missing or function not in FUNCTIONS:
        raise UsageError(
            f"recipe: expected one that {' or '.join(FUNCTIONS)} wrote, got {function!r}"
            + (f" without {', '.join(missing)}" if missing else "")
        )
    return then


def _differences(then: Recipe, now: dict[str, Any]) -> list[str]:
    """What is not as it was, among the entries that pixels depend on."""
    names = [name for name in REPRODUCING if name != "versions"]
    names += [name for name in ("controlnet_revision", "speed_lora") if name in now]
    pairs = {name: (then.get(name), now[name]) for name in names}  # type: ignore[literal-required]
    if "person" in now:
        pairs["the IP-Adapter"] = then["person"]["revision"], now["person"]["revision"]
    for library, current in now["versions"].items():
        pairs[library] = (then["versions"].get(library), current)
    return [f"{name} was {old}, is {new}" for name, (old, new) in pairs.items() if old != new]


def _inputs_of(recipe: Recipe, given: dict[str, Any]) -> dict[str, Any]:
    """What a recipe was drawn from, made ready; raises UsageError if it is another."""
    function = recipe["function"]
    for name, value in given.items():
        wanted = name in recipe and name in FUNCTIONS[function].inputs
        if wanted and value is None:
            raise UsageError(
                f"{name}: got none, expected {INPUTS[name][0]}; try rerun(recipe, {name}=...)"
            )
        if value is not None and not wanted:
            raise UsageError(f"{name}: got one, but this {function} has none; leave it out")
    ready = {name: value for name, value in given.items() if value is not None}
    if "image" in ready:
        if function == "inpaint":  # which cuts nothing off
            ready["image"] = open_picture(given["image"])
        else:
            ready["image"], _ = ready_picture(given["image"], recipe["size_px"])
        _check_same("image", [picture_hash(ready["image"])], [recipe["image"]])
    if "mask" in ready:
        ready["mask"] = Image.fromarray(read_mask(given["mask"], ready["image"].size))
        _check_same("mask", [picture_hash(ready["mask"])], [recipe["mask"]])
    if "person" in ready:
        entry = recipe["person"]
        likeness = given["person"]
        if not isinstance(likeness, Likeness):
            likeness = Likeness(likeness)
        ready["person"] = replace(
            likeness, scale=entry["scale"], start=entry["start"], end=entry["end"]
        )
        hashes = [picture_hash(photo.preview) for photo in likeness.photos]
        _check_same("person", hashes, entry["photos"])
    if "condition" in ready:
        ready["condition"], _ = fit_conditions(given["condition"], recipe["size_px"])
        hashes = [entry["image"] for entry in _listed(recipe["condition"])]
        _check_same("condition", [fitted.hash for fitted in ready["condition"]], hashes)
    return ready


def _check_same(name: str, got: list[str], expected: list[str]) -> None:
    if got != expected:
        what, same = INPUTS[name]
        shown = [", ".join(hash_[:19] for hash_ in hashes) for hashes in (got, expected)]
        raise UsageError(
            f"{name}: got another ({shown[0]}...) than {what} ({shown[1]}...); try {same} again"
        )


def _check_adapters(recipe: Recipe, model: Model) -> None:
    """Raise UsageError unless the model holds what the recipe was drawn with, in any order."""

    def plain(entries: Any) -> list[tuple[str, float]]:
        return sorted((entry["hash"], entry["scale"]) for entry in entries or ())

    if plain(recipe["adapter"]) != plain(model.adapter_entries):
        raise UsageError(
            f"recipe: drawn with {_in_words(recipe['adapter'])}, but the model holds "
            f"{_in_words(model.adapter_entries)}; try model.with_adapter(adapter, scale) for each"
        )


def _in_words(entries: Any) -> str:
    """Adapters as a recipe has them, in words."""
    words = [f"{row['identifier']} ({row['hash']}) at {row['scale']:g}" for row in entries or ()]
    return "the adapter " + " and ".join(words) if words else "no adapter"


def _model_of(recipe: Recipe) -> Model:
    """The model that a recipe names, on the recipe's device where that is here."""
    if recipe["adapter"] is not None:
        raise UsageError(
            f"recipe: drawn with {_in_words(recipe['adapter'])}; try rerun(recipe, "
            'load_model(...).with_adapter(Adapter.open("its file"), scale))'
        )
    from_hub = not str(recipe["model_revision"]).startswith("sha256:")
    revision = recipe["model_revision"] if from_hub else None
    try:
        device = pick_device(recipe["device"])
    except UsageError:  # the recipe is from another machine; rerun warns of what differs
        return load_model(recipe["model"], revision=revision)
    return load_model(recipe["model"], device, dtype=recipe["dtype"], revision=revision)
