"""The styles of the post, where the search for good portraits begins in each, and how it moves."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from portraitlib.settings import UsageError, is_text, nearest, shown

LEAST_SCALE, MOST_SCALE = 0.4, 1.4  # of an adapter or a photo: outside there is no face or no style
EDGES_STEP, MOST_EDGES = 0.35, 0.7
SAME_NAME = 0.8  # how alike a name has to be to count as a slip of another


@dataclass(frozen=True)
class Setting:
    """How the next portraits of a style are drawn.

    scale: of the face's adapter, or of the photo beside the words.
    edges: how hard the edges of one of the photos hold; 0 is without.
    factor: what the scale is moved by next.  last: where it was moved last, up 1, down -1.
    """

    scale: float = 1.0
    edges: float = 0.0
    factor: float = 1.25
    last: int = 0

    def __str__(self) -> str:
        return f"scale {self.scale:.2f}" + (f", edges {self.edges:g}" if self.edges else "")


@dataclass(frozen=True)
class Style:
    """What portraits are asked for.

    name: as the page calls it.  words: what the prompt says after the person; each of them has to
    be seen in a portrait that is kept.  scale: of the adapter, where the search begins.
    """

    name: str
    words: str
    scale: float = 0.85

    @property
    def folder(self) -> str:
        """The name as a file may have it."""
        return "-".join("".join(c if c.isalnum() else " " for c in self.name).lower().split())


# Those of the post, all smiling. Where each begins is where a taught face did best in it on the
# embedded model, for two people that nothing else here is measured on.
STYLES = {
    style.name: style
    for style in (
        Style("photorealistic", "smiling, photorealistic"),
        Style("oil, dramatic", "smiling, oil painting, dramatic"),
        Style("oil, impressionist", "smiling, oil painting, impressionist"),
        Style("punk", "smiling, wearing sweatshirt, animated, punk"),
        Style("comic book", "smiling, comic book style"),
        Style("anime", "smiling, anime style", scale=0.7),
        Style("pencil sketch", "smiling, pencil sketch"),
    )
}


def find_styles(names: Sequence[str] | None) -> list[Style]:
    """Styles by their names in `STYLES`, or by words of one's own; None takes all of the post.

    Raises UsageError for none, for what is no text or is named twice, and for a slip of the pen.
    """
    if names is None:
        return list(STYLES.values())
    if isinstance(names, str) or not names or not all(is_text(n) and n.strip() for n in names):
        raise UsageError(
            f"styles: got {shown(names)}, expected a list of names or words; try ['comic book']"
        )
    styles = []
    for name in names:
        slip = difflib.get_close_matches(name.lower(), STYLES, 1, SAME_NAME)
        if name not in STYLES and slip:
            raise UsageError(f"styles: got {name!r}; {nearest(name, STYLES)}")
        styles.append(STYLES.get(name) or Style(name.strip(), name.strip()))
    folders = [style.folder for style in styles]
    again = [style.name for style in styles if folders.count(style.folder) > 1 or not style.folder]
    if again:
        raise UsageError(f"styles: got {again[0]!r} twice, or without a letter; name each once")
    return styles


def move(setting: Setting, unlike: int, unstyled: int) -> Setting:
    """Where to draw next: up if more portraits were unlike the person, down if more lacked style.

    unlike, unstyled: how many of the last portraits were so. The scale moves by a factor that
    shrinks to its root each time the way turns, as the level of a tone does in a test of hearing
    (up-down staircase: Levitt 1971, https://doi.org/10.1121/1.1912375). Edges of a photo are taken
    where the scale can go no higher, and go first on the way down.
    """
    way = (unlike > unstyled) - (unlike < unstyled)
    if way == 0:
        return setting
    factor = setting.factor**0.5 if way == -setting.last else setting.factor
    moved = replace(setting, factor=factor, last=way)
    if way < 0 and setting.edges:
        return replace(moved, edges=max(0.0, setting.edges - EDGES_STEP))
    scale = min(max(setting.scale * factor**way, LEAST_SCALE), MOST_SCALE)
    if way > 0 and scale == setting.scale:
        return replace(moved, edges=min(setting.edges + EDGES_STEP, MOST_EDGES))
    return replace(moved, scale=scale)
