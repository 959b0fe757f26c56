"""The words that the embedded model is taught, and the captions made of them."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

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
        "doctor's coat": ("wearing doctor's coat", "doctor's coat", "doctor"),
        "uniform": ("wearing uniform", "uniform"),
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

# How often each value is drawn. Small and late-learnt words come more often than in life.
WEIGHTS: dict[str, tuple[float, ...]] = {
    "style": (0.22, 0.13, 0.13, 0.13, 0.13, 0.15, 0.11),
    "who": (0.42, 0.26, 0.18, 0.14),
    "age": (0.30, 0.45, 0.25),
    "skin": (0.25, 0.30, 0.25, 0.20),
    "texture": (0.46, 0.44, 0.10),
    "length": (0.6, 0.4),
    "hair": (0.28, 0.24, 0.2, 0.16, 0.12),
    "beard": (0.44, 0.30, 0.26),
    "glasses": (0.65, 0.35),
    "expression": (0.3, 0.45, 0.25),
    "dimples": (0.7, 0.3),
    "jawline": (0.7, 0.3),
    "pimple": (0.7, 0.3),
    "clothing": (0.21, 0.24, 0.23, 0.14, 0.09, 0.09),
    "place": (0.22, 0.16, 0.16, 0.16, 0.15, 0.15),
    "mood": (0.58, 0.18, 0.14, 0.10),
    "punk": (0.88, 0.12),
    "mona_lisa": (0.975, 0.025),
}

# Groups that a caption always names when it can: left unsaid, these would be noise to a newcomer.
ALWAYS_SAID = ("style", "mood", "punk", "mona_lisa")


@dataclass(frozen=True)
class Look:
    """What words can say of a portrait: one value of each group of `PHRASES`."""

    style: str = "photorealistic"
    who: str = "man"
    age: str = "adult"
    skin: str = "tan"
    texture: str = "straight"
    length: str = "short"
    hair: str = "brown"
    beard: str = "none"
    glasses: str = "no"
    expression: str = "neutral"
    dimples: str = "no"
    jawline: str = "no"
    pimple: str = "no"
    clothing: str = "t-shirt"
    place: str = "plain"
    mood: str = "none"
    punk: str = "no"
    mona_lisa: str = "no"

    def __post_init__(self) -> None:
        for field in fields(self):
            value, known = getattr(self, field.name), PHRASES[field.name]
            if value not in known:
                raise ValueError(f"{field.name}: got {value!r}, expected one of {list(known)}")


def random_look(rng: np.random.Generator, **fixed: str) -> Look:
    """Draw a look at the `WEIGHTS`; the groups named in `fixed` hold their value.

    Rules keep pictures and words in agreement: only men and boys have beards, the bald have no
    hair colour to speak of, and Mona Lisa is one composition.
    """
    values = {
        group: fixed.get(group) or str(rng.choice(list(PHRASES[group]), p=weights))
        for group, weights in WEIGHTS.items()
    }
    return _in_agreement(values, fixed)


def _in_agreement(values: dict[str, str], fixed: dict[str, str]) -> Look:
    def settle(group: str, value: str) -> None:
        values[group] = fixed.get(group, value)

    if values["who"] in ("woman", "girl"):
        settle("beard", "none")
        if values["texture"] == "bald":
            settle("texture", "straight")
    if values["who"] == "boy":
        if values["beard"] == "full":
            settle("beard", "trimmed")  # the post asks for a boy with one
        if values["texture"] == "bald":
            settle("texture", "curly")
    if values["who"] in ("man", "boy"):
        settle(
            "length",
            "short" if values["length"] == "short" or values["beard"] != "none" else "long",
        )
        if values["clothing"] == "dress":
            settle("clothing", "t-shirt")
    if values["who"] in ("boy", "girl") and values["age"] == "old":
        settle("age", "young")
    if values["age"] == "old" and values["hair"] in ("black", "brown"):
        settle("hair", "gray")
    if values["skin"] in ("indian", "dark") and values["hair"] in ("blond", "red"):
        settle("hair", "black")
    if values["punk"] == "yes" and values["texture"] == "bald":
        settle("texture", "straight")
    if values["dimples"] == "yes":
        settle("expression", "smiling")  # nobody has them otherwise
    if values["mood"] == "impressionist":
        settle("style", "oil painting")
    if values["mona_lisa"] == "yes":
        values.update(
            style="oil painting", who="woman", age="adult", skin="light", texture="straight",
            length="long", hair="brown", beard="none", glasses="no", expression="neutral",
            dimples="no", jawline="no", pimple="no", clothing="dress", place="plain",
            mood="none", punk="no",
        )  # fmt: skip
    return Look(**values)


def caption(look: Look, rng: np.random.Generator, *, drop: float = 0.3) -> str:
    """Say a look in words: the person first, then details, place and style, as people prompt.

    `drop` is the share of the words that are left out (0 to 1). Which synonym, which order and
    which words are left out follow from `rng`.
    """

    def say(group: str) -> str:
        phrases = PHRASES[group][getattr(look, group)]
        if not phrases or (group not in ALWAYS_SAID and rng.random() < drop):
            return ""
        if look.style == "photorealistic" and group == "style" and rng.random() < 0.6:
            return ""  # a caption without a style is of a photograph
        return phrases[0] if rng.random() < 0.6 else str(rng.choice(list(phrases)))

    if look.mona_lisa == "yes":
        return say("mona_lisa")
    skin, age = say("skin"), say("age")
    words_before = [w for w in (skin,) if w in ("indian", "pale")]
    subject = " ".join([*words_before, look.who])
    details = [skin] if skin and skin not in words_before else []
    expression = say("expression")
    opening = rng.integers(4)
    if opening == 0 and expression == "smiling":
        start, expression = f"smiling {subject}", ""
    elif opening == 1:
        start = f"{'an' if subject.startswith('i') else 'a'} {subject}"
    else:
        start = f"portrait of {'a ' if rng.random() < 0.7 else ''}{subject}"
    if age:
        details.insert(0, age.format(who=look.who))
    bald = look.texture == "bald" or look.punk == "yes"
    hair = [say("texture")] if bald else [say("texture"), say("length"), say("hair")]
    if look.punk == "yes":
        hair = []
    face = [
        *hair,
        say("jawline"),
        say("beard"),
        expression,
        say("dimples"),
        say("pimple"),
        say("glasses"),
    ]
    details += [str(word) for word in rng.permutation([word for word in face if word] or [""])]
    scene = [say("clothing"), say("place")]
    if rng.random() < 0.3:
        scene.reverse()
    ending = [say("style"), say("mood"), say("punk")]
    if rng.random() < 0.25:
        ending.reverse()
    return ", ".join(word for word in [start, *details, *scene, *ending] if word)


def vocabulary() -> list[str]:
    """All words that captions can hold, sorted."""
    said = [p for group in PHRASES.values() for phrases in group.values() for p in phrases]
    glue = ["portrait of a an", "person", "with and in the on of background style hair"]
    text = " ".join([*said, *glue]).replace("{who}", "").replace(",", " ")
    return sorted(set(text.split()))


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
