"""From photos of a person to portraits worth keeping: looks, learns, draws until it has enough."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from portraitlib.cost import Budget, BudgetSpent, cost_of
from portraitlib.device import device_name
from portraitlib.generate.conditions import canny
from portraitlib.generate.rerun import rerun
from portraitlib.measuring.likeness import photos_kind
from portraitlib.mini.visible import named
from portraitlib.models.adapters import Adapter
from portraitlib.models.load import Model, load_model
from portraitlib.photos.audit import is_crowd
from portraitlib.photos.faces.find import DRAWN, FINDERS, encoder_for
from portraitlib.photos.photo_set import PhotoSet
from portraitlib.photos.pictures import picture_hash
from portraitlib.places import digest, output_folder
from portraitlib.portrait import Portrait
from portraitlib.profile.handover import FACE, ProfilePictures, hand_over
from portraitlib.profile.search import OnStep, Standing, Task, begin_search, search_all
from portraitlib.profile.styles import Style, find_styles
from portraitlib.settings import RANGES, DreamBooth, Sampling, UsageError, check_number
from portraitlib.training.checkpoints import open_run
from portraitlib.training.dreambooth import train_dreambooth

# Of the photos, those that nothing is learnt from and everything is measured with: a third. With
# fewer than this nothing is held back, and what was learnt from measures too.
ENOUGH_TO_HOLD_OUT, HELD_OUT = 6, 3


def make_portraits(
    model: Model,
    photos: PhotoSet,
    styles: Sequence[str] | None = None,
    *,
    folder: str | os.PathLike[str] = "runs/portrait",
    keep: int = 3,
    who: str = "man",
    quick: bool = False,
    adapter: Adapter | None = None,
    seed: int = 0,
    budget: Budget | None = None,
    on_step: OnStep | None = None,
) -> ProfilePictures:
    """Draw portraits of a person until each style has enough that are worth keeping.

    styles: names in `STYLES`, or words of one's own; None takes those of the post.
    folder: gets a page with all of them, `portraits/`, and `exports/` in the sizes that sites want.
        A run that was stopped goes on there, and draws nothing twice.
    keep: how many a style, 1 to 100.  who: the class word, such as "woman".
    quick: nothing is trained; one photo stands beside the words.
    adapter: what was learnt before, in place of a training.
    budget: the most that all of it may cost; what is kept by then is handed over, and it is said.
    on_step: called with what shows how far it is (`step`, `total`, and words as its text).

    Worth keeping is what is like the person (likeness at least .6, where 0 is a stranger in that
    style), shows every word of the style and a whole face, and copies no photo. Each style begins
    where its row says, with as many as are wanted; the scale of the adapter moves by what was
    wrong. Raises UsageError for what cannot be drawn, photos of several people, and photographs
    given to a model that draws a world of its own.
    """
    if quick and adapter is not None:
        raise UsageError("quick: got True beside an adapter, expected one of them")
    photos = _one_person(model, photos)
    task = Task(
        model=model, photos=photos, **split_photos(photos, quick),
        styles=_known_to(model, find_styles(styles)), home=output_folder(folder),
        keep=int(check_number("make_portraits", "keep", keep, RANGES["keep"])),
        quick=quick, who=who, seed=Sampling(seed=seed).seed, budget=budget or Budget(),
        on_step=on_step or (lambda _: None),
    )  # fmt: skip
    task.on_step(Standing(0, task.wanted, "; ".join([photos.summary, *photos.warnings])))
    identity = identity_of(model, photos, who, quick, adapter, task.seed)
    with open_run(task.home, identity):
        done = _make(task, adapter)
        hand_over(done)
    return done


def _make(task: Task, adapter: Adapter | None) -> ProfilePictures:
    """Learn and search; what the budget stops is handed over as it is."""
    face = adapter or (None if task.quick else _learn(task))
    if face is not None:
        face.save(task.home / FACE)
    device, stopped = device_name(task.model.device), ""
    learning = None if face is None or adapter else cost_of(face.recipe["seconds"], device)
    searches = [begin_search(task, style) for style in task.styles]
    try:
        search_all(task, face, searches, learning)
    except BudgetSpent as problem:
        stopped = f"{problem}; the same again with a larger one goes on"
    return ProfilePictures(
        task.home, str(task.model), task.photos, tuple(searches), task.keep,
        task.model.preset.size_px, learning, device, stopped,
    )  # fmt: skip


# --- what is looked at before anything is spent --------------------------------------------------


def _one_person(model: Model, photos: PhotoSet) -> PhotoSet:
    """The photos that can be used; raises UsageError for several people, or another world's."""
    if not isinstance(photos, PhotoSet) or not len(photos):
        raise UsageError("photos: got none, expected a person's; try pl.read_photos(folder)")
    photos = _of_one_kind(photos)
    kind = photos_kind(photos)
    encoder = encoder_for(kind)
    points = [photo.embedding for photo in photos if photo.embedding is not None]
    if encoder and len(points) > 1 and is_crowd(np.stack(points), encoder):
        raise UsageError(
            f"{photos.source}: they are different people: nobody is in more than half of these "
            f"{len(photos)} photos; expected photos of one person"
        )
    if bool(model.preset.words) != (kind == DRAWN):
        raise UsageError(
            f"{photos.source}: got {kind}, and {model.name} draws "
            + (
                "the people of its own drawn world alone; try --model sdxl on a machine with a GPU,"
                " or the notebook in Colab"
                if model.preset.words
                else "people as photographs show them; try --model mini"
            )
        )
    return photos


def _known_to(model: Model, styles: list[Style]) -> list[Style]:
    """The styles; raises UsageError for one of which a model that was taught words knows none."""
    for style in styles:
        if model.preset.words and not named(style.words):
            raise UsageError(
                f"styles: got {style.name!r}, in which {model.name} knows no word; try "
                f"{', '.join(model.preset.words['style'][:4])}"
            )
    return styles


def _of_one_kind(photos: PhotoSet) -> PhotoSet:
    """The photos of the kind that most are of; the others are left out, and it is said."""
    kinds = {photo.name: FINDERS[photo.finder].made_for for photo in photos if photo.finder}
    most = Counter(kinds.values()).most_common(1)
    kept = tuple(photo for photo in photos if most and kinds.get(photo.name) == most[0][0])
    if len(kept) in (0, len(photos)):
        return photos
    others = tuple(photo for photo in photos if not any(photo is k for k in kept))
    said = f"left out, not {most[0][0]}: {', '.join(photo.name for photo in others)}"
    left_out = (*photos.left_out, *others)
    return replace(photos, photos=kept, left_out=left_out, warnings=(*photos.warnings, said))


def split_photos(photos: PhotoSet, quick: bool) -> dict[str, PhotoSet]:
    """The photos to learn from and those to measure with."""
    if quick:
        one = replace(photos, photos=photos.photos[:1])
        others = replace(photos, photos=photos.photos[1:]) if len(photos) > 1 else one
        return {"learnt": one, "held_out": others}
    if len(photos) < ENOUGH_TO_HOLD_OUT:
        return {"learnt": photos, "held_out": photos}
    learnt, held_out = photos.hold_out(max(HELD_OUT, len(photos) // 3))
    return {"learnt": learnt, "held_out": held_out}


def identity_of(
    model: Model,
    photos: PhotoSet,
    who: str,
    quick: bool,
    adapter: Adapter | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """What makes a folder another's: with these the same nothing is drawn twice."""
    return {
        "model": model.name,
        "model_revision": model.revision,
        "size_px": model.preset.size_px,
        "photos": digest([picture_hash(image) for image in photos.images]),
        "who": who,
        "quick": quick,
        "adapter": adapter and adapter.hash,
        "seed": seed,
    }


def _learn(task: Task) -> Adapter:
    """The person's face, learnt once: a training is found again by what it is of."""
    settings = DreamBooth(
        instance_prompt=f"portrait of {task.photos.identifier} {task.who}", seed=task.seed
    )
    return train_dreambooth(
        task.model, task.learnt, settings, budget=task.budget, on_step=task.on_step
    )


# --- once more -----------------------------------------------------------------------------------


def draw_again(
    path: str | os.PathLike[str],
    seed: int,
    photos: PhotoSet | None = None,
    model: Model | None = None,
) -> Portrait:
    """Draw a portrait of `make_portraits` once more, with another seed.

    path: of a PNG in its folder.  photos: the same as then; needed only where the portrait holds to
    a photo.  model: a loaded one in place of that which its recipe names.
    Raises UsageError for a file that is none, or whose adapter or photos are missing.
    """
    source = Path(path).expanduser()
    recipe = Portrait.open(source).recipe
    recipe = recipe.get("mended", recipe)  # as it was before something in it was mended
    face = source.absolute().parent.parent / FACE
    model = model or load_model(recipe.get("model"))
    if entries := recipe.get("adapter"):
        if not face.is_file():
            raise UsageError(f"{source}: {face.name} is missing beside its folder, expected there")
        model = model.with_adapter(Adapter.open(face), entries[0]["scale"])
    given: dict[str, Any] = {}
    if needed := {"condition", "person"} & recipe.keys():
        if photos is None:
            raise UsageError(f"{source}: it holds to a photo; name the folder of the photos, too")
        learnt = split_photos(photos, "person" in needed)["learnt"]
        given = {"condition": canny(learnt[0]), "person": learnt}
    given = {name: value for name, value in given.items() if name in needed}
    seed = Sampling(seed=seed).seed
    again = {**recipe, "seed": seed, "batch_seed": seed, "num_images": 1}
    return rerun(again, model, **given)
