"""Measure portraits: likeness, prompt fidelity, edges, colour, sharpness, diversity and drift.

Every figure that can be compared with something is: its floor and ceiling stand beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from portraitlib.generate.regions import read_mask
from portraitlib.measuring import appearance, fidelity, intervals, likeness
from portraitlib.measuring.result import Measurement, Points, Scale
from portraitlib.measuring.sweep import SweepTable
from portraitlib.photos.faces.find import DRAWN, Encoder, encoder_for
from portraitlib.photos.photo_set import PhotoSet
from portraitlib.portrait import Portrait
from portraitlib.settings import Range, UsageError, check_number

if TYPE_CHECKING:
    from portraitlib.models.load import Model

LEAST_REFERENCE = 4  # two halves of two
LEAST_STRANGERS = 4
PIXELS_OFF = Range(0, 4096, "pixels", example=1, whole=False)
PIXELS = f"colours at {appearance.LAB_PX} px"

__all__ = ["Measurement", "Scale", "measure"]


def measure(
    portraits: SweepTable | Sequence[Portrait | Image.Image],
    photos: PhotoSet | None = None,
    prompt: str | Sequence[str] | None = None,
    edges: Any = None,
    *,
    model: Model | str | None = None,
    reference: SweepTable | Sequence[Portrait | Image.Image] | None = None,
    strangers: Sequence[Portrait | Image.Image] | None = None,
    ceiling: Sequence[Portrait | Image.Image] | None = None,
    learnt: PhotoSet | None = None,
    features: bool = False,
    encoder: str | None = None,
    tolerance_px: float | None = None,
) -> Measurement:
    """Measure portraits; what is not given is not measured.

    portraits: a list of portraits or pictures, or a sweep's table, whose settings go into the rows.
    photos: of the person, best some that nothing was trained on (`photos.hold_out`): likeness.
    prompt: what was asked for, one text or one a portrait: prompt fidelity.
    edges: an image or array (height, width), not zero on an edge: edge agreement within
        tolerance_px, which is 1 % of the longer side unless given, and at least 1.
    model: what made them; needed only for pictures without a recipe, to choose the judge.
    reference: what the untouched model draws for the class prompt, four or more: drift.
    strangers: others in the portraits' style, four or more, as `pl.style_strangers` draws them.
    ceiling: the person in that style, as [pl.subject_portrait("anime")], in place of the photos.
    learnt: the photos that were trained on, none of `photos`: copying, and the nearest one's name.
    features: how large ears and how bushy hair look; to be held against those of the photos.
    encoder: a name in `faces.ENCODERS`; None for the one made for the photos' kind of picture.

    Likeness is 1 at the median distance between the photos, 0 at that to strangers; None without a
    face. Diversity and drift compare faces, or colours. Raises UsageError for what does not fit.
    """
    given = read_portraits("portraits", portraits)
    others = None if reference is None else read_portraits("reference", reference, LEAST_REFERENCE)
    prompts = _read_prompts(prompt, len(given.pictures))
    wanted = None if edges is None else _read_edges(edges, given.pictures)
    tolerance_px = _tolerance(tolerance_px, given.pictures)
    chosen = _choose_encoder(encoder, photos, model, given.recipes)
    scales, notes, columns = {"pixel_grid": Scale(0.0, 1.0)}, [*given.notes], [given.rows]
    faces = likeness.face_points(given.pictures, chosen) if chosen else []
    columns += _likeness_rows(faces, photos, chosen, (strangers, ceiling, learnt), scales, notes)
    columns += _word_rows(given, prompts, features, (model, photos), scales)
    columns += _edge_rows(given.pictures, wanted, tolerance_px, scales)
    columns.append([appearance.look_of(picture) for picture in given.pictures])
    points = {"diversity": _diversity_points(given.pictures, faces, chosen, scales)}
    if others:
        points["drift"] = _drift_points(given.pictures, faces, chosen, others, scales)
    rows = tuple(_joined(parts) for parts in zip(*columns, strict=True))
    return Measurement(rows, scales, given.varied, tuple(notes), points)


def _joined(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """One row of what was measured of a portrait in turn."""
    return {name: value for part in parts for name, value in part.items()}


def _tolerance(given_px: float | None, pictures: Sequence[Image.Image]) -> float:
    """How far an edge may lie off, in pixels: as given, or by the size of the pictures."""
    if given_px is None:
        return max(1.0, appearance.TOLERANCE * max(pictures[0].size))
    return check_number("measure", "tolerance_px", given_px, PIXELS_OFF)


def _word_rows(
    given: Given,
    prompts: list[str],
    features: bool,
    about: tuple[Any, PhotoSet | None],
    scales: dict[str, Scale],
) -> Iterator[list[dict[str, Any]]]:
    """Prompt fidelity and the features of faces, by the judge of drawings or by CLIP."""
    if not prompts and not features:
        return
    drawn = _are_drawn(given, *about)
    # Looked at once, for both.
    seen: Any = (fidelity.read_drawn if drawn else fidelity.embed_pictures)(given.pictures)
    if prompts:
        judge: Any = fidelity.judge_drawn if drawn else fidelity.judge_by_clip
        rows, ends = judge(seen, prompts)
        scales |= {name: Scale(*both) for name, both in ends.items()}
        yield rows
    if features:
        read: Any = fidelity.features_drawn if drawn else fidelity.features_by_clip
        yield read(seen)


# --- what was given ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Given:
    """Portraits as RGB pictures, their recipes, and the rows to fill: one of each a portrait."""

    pictures: list[Image.Image]
    recipes: list[dict[str, Any]]
    rows: list[dict[str, Any]]
    varied: dict[str, list[Any]]
    notes: list[str]


def read_portraits(name: str, portraits: Any, least: int = 1) -> Given:
    """What `measure` is given; raises UsageError for what is no such thing, or fewer than least."""
    settings: list[dict[str, Any]]
    varied: dict[str, list[Any]] = {}
    notes: list[str] = []
    items: list[Any]
    if isinstance(portraits, SweepTable):
        items = portraits.portraits
        settings = [row.settings for row in portraits.rows for _ in row.portraits]
        varied = {name: portraits.values(name) for name in portraits.varied}
        if portraits.failures:
            notes = [f"{len(portraits.failures)} of {len(portraits.rows)} combinations failed"]
    elif isinstance(portraits, Sequence) and not isinstance(portraits, (str, bytes)):
        items, settings = list(portraits), [{}] * len(portraits)
    else:
        kind = type(portraits).__name__
        raise UsageError(
            f"{name}: got {kind}, expected a list of portraits or a sweep's table"
            + ("; try [portrait]" if isinstance(portraits, (Portrait, Image.Image)) else "")
        )
    if len(items) < least:
        raise UsageError(f"{name}: got {len(items)}, expected at least {least}")
    for item in items:
        if not isinstance(item, (Portrait, Image.Image)):
            raise UsageError(
                f"{name}: got {type(item).__name__} among them, expected Portrait or a PIL image"
            )
    pictures = [item.image if isinstance(item, Portrait) else item for item in items]
    recipes = [item.recipe if isinstance(item, Portrait) else {} for item in items]
    rows = [
        {"portrait": index, "seed": recipe.get("seed"), **settings[index]}
        for index, recipe in enumerate(recipes)
    ]
    return Given([p.convert("RGB") for p in pictures], recipes, rows, varied, notes)


def _read_prompts(prompt: Any, count: int) -> list[str]:
    """One prompt a portrait; none if nothing was asked."""
    if prompt is None:
        return []
    prompts = [prompt] * count if isinstance(prompt, str) else prompt
    if not isinstance(prompts, Sequence) or not all(isinstance(text, str) for text in prompts):
        raise UsageError(f"prompt: got {prompt!r}, expected a text, or a list of one a portrait")
    if len(prompts) != count:
        raise UsageError(f"prompt: got {len(prompts)} for {count} portraits, expected one each")
    for text in prompts:
        fidelity.phrases_of(text)
    return list(prompts)


def _read_edges(edges: Any, pictures: Sequence[Image.Image]) -> np.ndarray:
    sizes = {picture.size for picture in pictures}
    if len(sizes) > 1:
        names = ", ".join(f"{width}x{height}" for width, height in sorted(sizes))
        raise UsageError(f"edges: got portraits of {names} px, expected all of one size")
    return read_mask(edges, sizes.pop(), "edges")


# --- which judge and which encoder ---------------------------------------------------------------


def _choose_encoder(
    name: str | None, photos: Any, model: Any, recipes: Sequence[dict[str, Any]]
) -> Encoder | None:
    """The one named, or that for the photos' kind, or for the world of the embedded model."""
    if photos is not None:
        likeness.check_photos(photos)
    if name is not None:
        return likeness.named_encoder(name)
    if photos is not None:
        return likeness.encoder_of(photos)
    return encoder_for(DRAWN) if _taught(model, recipes) else None


def _taught(model: Any, recipes: Sequence[dict[str, Any]]) -> bool | None:
    """Were they made by a model whose words are known? None if nobody says what made them.

    Raises UsageError if only some were.
    """
    from portraitlib.models.presets import PRESETS, find_preset

    if model is not None:
        preset = find_preset(model) if isinstance(model, str) else getattr(model, "preset", None)
        if preset is None:
            raise UsageError(f"model: got {type(model).__name__}, expected a Model or its name")
        return bool(preset.words)
    names = {recipe.get("model") for recipe in recipes}
    known = {bool(name in PRESETS and PRESETS[name].words) for name in names if name is not None}
    if len(known) > 1 or (known and None in names):
        makers = ", ".join(sorted(map(str, names)))
        raise UsageError(
            f"portraits: made by {makers}, whose judges differ; measure those of each apart"
        )
    return known.pop() if known else None


def _are_drawn(given: Given, model: Any, photos: PhotoSet | None) -> bool:
    """Are they of the embedded model's world? Raises UsageError if nobody says."""
    taught = _taught(model, given.recipes)
    if taught is None and photos is not None:
        taught = likeness.photos_kind(photos) == DRAWN
    if taught is None:
        raise UsageError(
            "portraits: they do not say which model made them, and so not who can judge them; "
            'try model="mini" or model="sdxl"'
        )
    return taught


# --- the figures ---------------------------------------------------------------------------------


def _likeness_rows(
    faces: Sequence[np.ndarray | None],
    photos: PhotoSet | None,
    encoder: Encoder | None,
    given: tuple[Any, Any, PhotoSet | None],
    scales: dict[str, Scale],
    notes: list[str],
) -> Iterator[list[dict[str, Any]]]:
    """Likeness, and copying if the photos learnt from are given: strangers, ceiling, learnt."""
    strangers, ceiling, learnt = given
    if photos is None or encoder is None:
        if any(each is not None for each in given):
            raise UsageError("photos: got none, expected the person's, to measure likeness with")
        return
    points, missing = likeness.photo_points(photos, encoder)
    crops = [photo.image for photo in photos if photo.image]
    others = _given_faces("strangers", strangers, encoder, LEAST_STRANGERS)
    own = _given_faces("ceiling", ceiling, encoder, 1)
    yardstick = likeness.make_yardstick(points, encoder, crops, others, own)
    floor = f"{len(yardstick.strangers)} strangers {'photographed' if others is None else 'given'}"
    scales["likeness"] = Scale(0.0, 1.0, floor)
    scales["distance"] = Scale(yardstick.floor, yardstick.ceiling, floor)
    scales["strangers_less_alike"] = Scale(0.5, yardstick.ceiling_less_alike, floor)
    best = "another photo" if own is None else f"{len(own)} given pictures of the person"
    notes.append(f"likeness is 0 for {floor}, 1 for {best}")
    if missing:
        notes.append(f"photos in which {encoder.name} finds no face: {', '.join(missing)}")
    if yardstick.ceiling is None:
        notes.append("likeness has no ceiling: it takes two photos or more to know one")
    elif not yardstick.tells_apart:
        notes.append("likeness is not known: the photos are no nearer to each other than strangers")
    unseen = sum(point is None for point in faces)
    if unseen:
        notes.append(f"{likeness.NOT_FOUND} in {unseen} of {len(faces)}: not averaged")
    yield [yardstick.measure(point) for point in faces]
    if learnt is not None:
        copies = likeness.find_copying(photos, learnt, encoder)
        by_chance = [copies.measure(point)["copying"] for point in yardstick.points]
        scales["copying"] = Scale(float(np.mean(by_chance)), 1.0, floor)
        yield [copies.measure(point) for point in faces]


def _given_faces(name: str, pictures: Any, encoder: Encoder, least: int) -> np.ndarray | None:
    """The faces of other pictures as points; None for no pictures; enough, or UsageError."""
    if pictures is None:
        return None
    return likeness.known_points(name, read_portraits(name, pictures).pictures, encoder, least)[0]


def _edge_rows(
    pictures: Sequence[Image.Image],
    wanted: np.ndarray | None,
    tolerance_px: float,
    scales: dict[str, Scale],
) -> Iterator[list[dict[str, Any]]]:
    """Agreement with the edges; the floor is that with the same edges upside down.

    Those are as many and as long, and a portrait turned over is elsewhere.
    """
    if wanted is None:
        return
    drawn = [appearance.find_edges(picture) for picture in pictures]
    by_chance = [appearance.edge_agreement(edges, wanted[::-1], tolerance_px) for edges in drawn]
    for name in ("edge_f1", "edge_precision", "edge_recall"):
        known = [row[name] for row in by_chance if row[name] is not None]
        scales[name] = Scale(float(np.mean(known)) if known else None, 1.0)
    yield [appearance.edge_agreement(edges, wanted, tolerance_px) for edges in drawn]


def _diversity_points(
    pictures: Sequence[Image.Image],
    faces: Sequence[np.ndarray | None],
    encoder: Encoder | None,
    scales: dict[str, Scale],
) -> Points:
    """Faces in units of the strangers' mean distance, or colours."""
    if encoder is None:
        scales["diversity"] = Scale(0.0, None)
        return Points(PIXELS, appearance.lab_points(pictures))
    strangers = encoder.strangers(())
    scales["diversity"] = Scale(0.0, 1.0)
    unit, _ = intervals.spread(strangers, range(len(strangers)))
    return Points(f"faces by {encoder.name}", _rows_of(faces, strangers.shape[1]), unit)


def _drift_points(
    pictures: Sequence[Image.Image],
    faces: Sequence[np.ndarray | None],
    encoder: Encoder | None,
    others: Given,
    scales: dict[str, Scale],
) -> Points:
    """Faces where enough are found on both sides, or colours."""
    by, points, reference = PIXELS, None, None
    rows = enumerate(others.rows)  # where there is no seed, each picture is something of its own
    units = tuple(("picture", i) if row["seed"] is None else row["seed"] for i, row in rows)
    if encoder and sum(point is not None for point in faces) >= 2:
        known = likeness.face_points(others.pictures, encoder)
        held = [index for index, point in enumerate(known) if point is not None]
        if len(held) >= LEAST_REFERENCE:
            by, points = f"faces by {encoder.name}", _rows_of(faces, encoder.strangers(()).shape[1])
            reference = np.array([known[index] for index in held])
            units = tuple(units[index] for index in held)
    if points is None or reference is None:
        points = appearance.lab_points(pictures)
        reference = appearance.lab_points(others.pictures)
    if not intervals.distances(reference, reference).any():
        raise UsageError("reference: got one picture again and again, expected different ones")
    scales["drift"] = Scale(intervals.drift_by_chance(reference), None)
    return Points(by, points, reference=reference, reference_units=units)


def _rows_of(points: Sequence[np.ndarray | None], numbers_each: int) -> np.ndarray:
    """(rows, numbers), NaN for a portrait without a face."""
    empty = np.full(numbers_each, np.nan, np.float32)
    return np.array([empty if point is None else point for point in points])
