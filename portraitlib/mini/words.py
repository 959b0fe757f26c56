"""The words that the embedded model is taught."""

from __future__ import annotations

STYLES = (
    "photorealistic",
    "pencil sketch",
    "comic book",
    "anime",
    "pixel art",
    "oil painting",
    "animated",
)
# One row a group: what the drawing program calls a thing -> how captions say it, most usual first.
# An empty phrase list means that captions never mention it: it is what happens without a word.
PHRASES: dict[str, dict[str, tuple[str, ...]]] = {
    "style": {
        "photorealistic": ("photorealistic", "photorealistic, hd", "photo"),
        "pencil sketch": ("pencil sketch",),
        "comic book": ("comic book style",),
        "anime": ("anime style", "anime"),
        "pixel art": ("pixel art",),
        "oil painting": ("oil painting",),
        "animated": ("animated",),
    },
    "who": {"man": ("man",), "woman": ("woman",), "boy": ("boy",), "girl": ("girl",)},
    "age": {
        "young": ("20 year old {who}", "young {who}"),
        "adult": (),
        "old": ("old {who}", "70 year old {who}"),
    },
    "skin": {
        "light": ("light skin", "pale"),
        "tan": (),
        "indian": ("indian",),
        "dark": ("dark skin",),
    },
    "texture": {"straight": ("straight hair",), "curly": ("curly hair",), "bald": ("bald",)},
    "length": {"short": ("short hair",), "long": ("long hair",)},
    "hair": {
        "black": ("black hair",),
        "brown": ("brown hair",),
        "blond": ("blond hair",),
        "red": ("red hair",),
        "gray": ("gray hair",),
    },
    "beard": {
        "none": (),
        "trimmed": ("trimmed beard",),
        "full": ("full beard", "beard", "long beard"),
    },
    "glasses": {"no": (), "yes": ("glasses", "wearing glasses")},
    "expression": {"neutral": (), "smiling": ("smiling", "smile"), "serious": ("serious",)},
    "dimples": {"no": (), "yes": ("dimples",)},
    "jawline": {"no": (), "yes": ("jawline", "strong jawline")},
    "pimple": {"no": (), "yes": ("pimple on cheek", "pimple")},
    "clothing": {
        "t-shirt": ("wearing t-shirt",),
        "sweatshirt": ("wearing sweatshirt", "sweatshirt"),
        "suit": ("formal", "wearing suit"),
        "dress": ("wearing dress",),
    },
    "place": {
        "plain": ("plain background",),
        "forest": ("in a forest", "forest background"),
        "jungle": ("in jungle", "in a jungle"),
        "bubblegum": ("bubblegum background",),
        "beach": ("on a beach", "beach background"),
        "city": ("in a city", "city background"),
    },
    "mood": {
        "none": (),
        "colorful": ("colorful", "colorful, vibrant, cheerful", "vibrant", "cheerful"),
        "dramatic": ("dramatic",),
        "impressionist": ("impressionist",),
    },
    "punk": {"no": (), "yes": ("punk",)},
    "mona_lisa": {"no": (), "yes": ("mona lisa", "the mona lisa")},
}

GROUPS = tuple(PHRASES)


def taught_phrases() -> dict[str, tuple[str, ...]]:
    """The phrases that captions can hold, by the group of things that they describe."""
    return {
        group.replace("_", " "): tuple(
            phrase.format(who="man")
            for phrases in values.values()
            for phrase in phrases
            if "," not in phrase  # two phrases that have rows of their own
        )
        for group, values in PHRASES.items()
    }
