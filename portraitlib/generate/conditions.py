"""What steers a drawing beside its prompt: edges, lines, depth or pose of a picture.

`KINDS` is the table of what can be made of a picture. The first three need OpenCV alone; the
others a model from the hub, which `annotators` holds. Knows no torch before one of those is asked.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from portraitlib.photos.pictures import Picture, open_picture, picture_hash, ready_picture
from portraitlib.portrait import Portrait
from portraitlib.settings import RANGES, Range, UsageError, check_number, nearest

LINE = Range(0.3, 20.0, "pixels", example=1.0, whole=False)
LARGEST_PX = 1024  # of a condition whose size nobody asked for: SDXL's own size
DARK = 64  # of 255: what counts as the black between lines
FAINTEST = 40.0  # the least high threshold chosen by itself: a step of ten levels in grey


@dataclass(frozen=True)
class Condition:
    """A picture that steers a drawing. A notebook shows it.

    image: 8 bits, RGB, square; white on black for edges and lines.
    kind: a name in `KINDS`.
    settings: what it was made with, thresholds chosen by itself included.
    picture: the square picture that it was made of; None for edges that came ready-made.
    asked: the settings as they were given, to make it again at another size.
    """

    image: Image.Image
    kind: str
    settings: dict[str, Any] = field(default_factory=dict)
    picture: Image.Image | None = field(default=None, repr=False)
    asked: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def hash(self) -> str:
        """The content of the condition's own picture, as recipes know it."""
        return picture_hash(self.image)

    def at_size(self, size_px: int) -> Condition:
        """The same condition at another size, made again where its picture is known."""
        if self.image.size == (size_px, size_px):
            return self
        if self.picture is not None:
            return make_condition(Portrait(self.picture), self.kind, size_px=size_px, **self.asked)
        return Condition(_resized_lines(self.image, size_px), self.kind, dict(self.settings))

    def _repr_png_(self) -> bytes | None:
        return self.image._repr_png_()


def canny(
    image: Picture,
    low_threshold: float | None = None,
    high_threshold: float | None = None,
    *,
    size_px: int | None = None,
) -> Condition:
    """The edges of a picture, white on black, as the ControlNet of a preset reads them.

    image: as image_to_image takes it; cut to the same square about the head.
    low_threshold, high_threshold: 0 to 1000, of the gradient |dx| + |dy| of the grey levels, the
        low one not above the high one. An edge begins where the gradient is above the high one and
        goes on while it is above the low one. None chooses: high by Otsu's rule, which parts the
        gradients of the picture into edges and the rest, and low as half of high.
    size_px: side of the result; None takes the picture's own, up to 1024, and control_to_image
        makes it again at the size that it draws.

    Raises UsageError for thresholds out of range or swapped, and for a picture without edges.
    Canny 1986, https://doi.org/10.1109/TPAMI.1986.4767851;
    Otsu 1979, https://doi.org/10.1109/TSMC.1979.4310076.
    """
    return make_condition(
        image, "canny", size_px=size_px, low_threshold=low_threshold, high_threshold=high_threshold
    )


def make_condition(
    image: Picture, kind: str, *, size_px: int | None = None, **settings: Any
) -> Condition:
    """A condition of any kind in `KINDS`; its settings are those of the function in that row.

    image, size_px: as for `canny`.
    Raises UsageError for an unknown kind or setting, with what comes near, for a picture that shows
    nothing of the kind, and for a model that is not in the cache where the hub cannot be reached.
    """
    if not isinstance(kind, str) or kind not in KINDS:
        raise UsageError(f"kind: got {kind!r}, {nearest(kind, KINDS)}")
    make = KINDS[kind].make
    known = list(inspect.signature(make).parameters)[1:]
    for name in settings:
        if name not in known:
            raise UsageError(f"{kind}: unknown setting {name!r}, {nearest(name, known)}")
    picture, _ = ready_picture(image, _size_px(image, size_px))
    asked = {name: value for name, value in settings.items() if value is not None}
    values, used = make(np.asarray(picture), **asked)
    if not values.any():
        words = ", ".join(f"{name}={value}" for name, value in used.items())
        lower = "lower thresholds or " if kind == "canny" else ""
        raise UsageError(
            f"image: no {KINDS[kind].shows} in this picture{words and f' with {words}'}; "
            f"try {lower}a picture that shows something"
        )
    grown = values if values.ndim == 3 else np.repeat(values[..., None], 3, axis=2)
    return Condition(Image.fromarray(grown), kind, used, picture, asked)


def ready_edges(image: Image.Image | np.ndarray, size_px: int) -> tuple[Condition, list[str]]:
    """Edges that were made elsewhere, as a condition that fits, and what was done for that.

    Raises UsageError where there is nothing but black, and for an array that is no picture.
    """
    if isinstance(image, np.ndarray):
        image = _array_picture(image)
    bands = len(image.getbands())
    picture = open_picture(image)
    notes = ["one channel was made three"] if bands == 1 else []
    if picture.size != (size_px, size_px):
        notes.append(f"{picture.width}x{picture.height} px were made {size_px}x{size_px}")
        picture = _resized_lines(picture, size_px)
    if picture.getbbox() is None:
        raise UsageError("condition: got a black picture, expected edges; try pl.canny(photo)")
    return Condition(picture, "canny"), notes


def _array_picture(values: np.ndarray) -> Image.Image:
    """An array as OpenCV gives it, (height, width) or (height, width, 3) of 8 bits or booleans."""
    fits = values.ndim == 2 or (values.ndim == 3 and values.shape[2] == 3)
    if not fits or values.dtype not in (np.uint8, np.bool_) or not values.size:
        raise UsageError(
            f"condition: got an array {values.shape} of {values.dtype}, expected (height, width) "
            "or (height, width, 3) of uint8; try pl.canny(photo)"
        )
    scale = 255 if values.dtype == np.bool_ else 1
    return Image.fromarray(values.astype(np.uint8) * np.uint8(scale))


def mostly_black(picture: Image.Image) -> bool:
    """Is a picture as dark as edges are? A photo is not, nor are black lines on white."""
    return float((np.asarray(picture.convert("L")) < DARK).mean()) >= 0.5


def _resized_lines(picture: Image.Image, size_px: int) -> Image.Image:
    """White lines on black at another size: as bright as they were, however thin."""
    side = min(picture.size)
    square = ImageOps.fit(picture, (side, side))
    if side > size_px:
        square = square.filter(ImageFilter.MaxFilter(2 * (side // size_px // 2) + 1))
    return square.resize((size_px, size_px), Image.Resampling.NEAREST)


def _size_px(image: Picture, size_px: int | None) -> int:
    """The side that was asked for, or the picture's own as a multiple of 8, up to 1024."""
    if size_px is not None:
        return int(check_number("condition", "size_px", size_px, RANGES["size_px"]))
    shorter = min(open_picture(image).size)
    return max(32, min(shorter, LARGEST_PX) // 8 * 8)


# --- made by OpenCV alone ------------------------------------------------------------------------


def _canny(
    picture: np.ndarray, low_threshold: float | None = None, high_threshold: float | None = None
) -> tuple[np.ndarray, dict[str, float]]:
    import cv2

    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    low, high = _thresholds(grey, low_threshold, high_threshold)
    return cv2.Canny(grey, low, high), {"low_threshold": low, "high_threshold": high}


def _thresholds(grey: np.ndarray, low: float | None, high: float | None) -> tuple[float, float]:
    """Both thresholds as plain numbers in order; what is None is chosen."""
    import cv2

    given = {"low_threshold": low, "high_threshold": high}
    for name, value in given.items():
        if value is not None:
            given[name] = float(check_number("canny", name, value, RANGES[name]))
    low, high = given["low_threshold"], given["high_threshold"]
    if low is None and high is None:
        slopes = [cv2.Sobel(grey, cv2.CV_16S, *axes).astype(int) for axes in ((1, 0), (0, 1))]
        # Otsu's rule wants 8 bits; gradients reach 2040, and above 1000 all are edges.
        gradient = np.minimum(sum(abs(slope) for slope in slopes) // 4, 250).astype(np.uint8)
        otsu, _ = cv2.threshold(gradient, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
        high = max(4.0 * otsu, FAINTEST)
    if high is None:
        assert low is not None
        high = min(2 * low, RANGES["high_threshold"].high)
    if low is None:
        low = high / 2
    if low > high:
        raise UsageError(
            f"canny: got low_threshold={low:g} above high_threshold={high:g}; "
            f"try low_threshold={high:g}, high_threshold={low:g}"
        )
    return low, high


def _soft_edges(picture: np.ndarray, blur_px: float = 1.0) -> tuple[np.ndarray, dict[str, float]]:
    """The gradient of the strongest colour, the steepest hundredth of the picture white."""
    import cv2

    blur_px = check_number("soft edges", "blur_px", blur_px, LINE)
    smooth = cv2.GaussianBlur(picture, (0, 0), blur_px).astype(np.float32)
    slopes = [cv2.Sobel(smooth, cv2.CV_32F, *axes) for axes in ((1, 0), (0, 1))]
    gradient = np.hypot(*slopes).max(axis=2)
    steepest = max(float(np.quantile(gradient, 0.99)), FAINTEST)
    return (255 * np.minimum(gradient / steepest, 1)).astype(np.uint8), {"blur_px": blur_px}


def _line_drawing(picture: np.ndarray, line_px: float = 1.0) -> tuple[np.ndarray, dict[str, float]]:
    """Where a picture is darker than about it: the difference of two blurs, as in a pen drawing.

    Winnemoeller et al. 2012, https://doi.org/10.1016/j.cag.2012.03.004.
    """
    import cv2

    line_px = check_number("line drawing", "line_px", line_px, LINE)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    near, far = (cv2.GaussianBlur(grey, (0, 0), line_px * wide) for wide in (1.0, 1.6))
    darker = np.maximum(far - near - 1.0, 0)  # a level is noise
    blackest = max(float(np.quantile(darker, 0.99)), 1.0)
    return (255 * np.minimum(darker / blackest, 1)).astype(np.uint8), {"line_px": line_px}


# --- made by a model from the hub ----------------------------------------------------------------


def _depth(picture: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    from portraitlib.generate.annotators import annotate

    return annotate(picture, "depth")


def _pose(picture: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    from portraitlib.generate.annotators import annotate

    return annotate(picture, "pose")


@dataclass(frozen=True)
class Kind:
    """make: RGB array -> array of 8 bits, grey or RGB, and the settings it used.

    shows: what a picture of one colour has none of.  lines: white on black, as canny edges are.
    """

    make: Callable[..., tuple[np.ndarray, dict[str, Any]]]
    shows: str
    lines: bool


KINDS = {
    "canny": Kind(_canny, "edges", True),
    "soft edges": Kind(_soft_edges, "edges", True),
    "line drawing": Kind(_line_drawing, "lines", True),
    "depth": Kind(_depth, "depth", False),
    "pose": Kind(_pose, "person", False),
}
