"""What each photo shows, in words: from a file beside it, from `metadata.jsonl`, or a template."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from portraitlib.settings import UsageError

METADATA = "metadata.jsonl"


def read_captions(
    folder: Path, names: Iterable[str], template: str, identifier: str
) -> dict[str, str]:
    """The caption of each photo, by file name; each holds the identifier.

    It is the text of `photo.txt` beside `photo.jpg`; without that, the row of `metadata.jsonl`
    whose "file_name" is the photo's, its "text" or "caption" (as the `datasets` library has it);
    without that, `template`, where {identifier} stands for the identifier.

    Raises UsageError for a caption that lacks the identifier, and for a file of captions that
    cannot be read: training on wrong words would go unnoticed.
    """
    fallback = template_caption(template, identifier)
    listed = read_metadata(folder / METADATA)
    captions, lacking = {}, []
    for name in names:
        beside = (folder / name).with_suffix(".txt")
        written = " ".join(_text(beside).split()) if beside.is_file() else ""
        captions[name] = written or listed.get(name, "") or fallback
        if not holds(captions[name], identifier):
            lacking.append(f"{beside.name if written else METADATA} has {captions[name][:60]!r}")
    if lacking:
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        raise UsageError(
            f"captions in {folder}: got {len(lacking)} without the identifier {identifier!r} "
            f"({'; '.join(lacking[:3])}{more}), expected it in each, as a word of its own; write "
            "it there, or pass the identifier that they use"
        )
    return captions


def template_caption(template: str, identifier: str) -> str:
    """The template with the identifier put in; raises UsageError if it has no place for it."""
    if not identifier or not re.fullmatch(r"[\w-]+", identifier):
        raise UsageError(
            f"identifier: got {identifier!r}, expected one word of letters and digits that means "
            "nothing yet; try 'jrdnpl'"
        )
    text = template.replace("{identifier}", identifier)
    if not holds(text, identifier):
        raise UsageError(
            f"caption: got {template!r}, expected a text with {{identifier}} in it; try "
            "'portrait of {identifier} man'"
        )
    return text


def holds(caption: str, identifier: str) -> bool:
    """Is the identifier in the caption, as a word of its own? Captions are read in lower case.

    >>> holds("Portrait of JRDNPL man", "jrdnpl"), holds("a jrdnplx", "jrdnpl")
    (True, False)
    """
    word = rf"(?<![\w-]){re.escape(identifier)}(?![\w-])"
    return re.search(word, caption, flags=re.IGNORECASE) is not None


def read_metadata(path: Path) -> dict[str, str]:
    """File name -> caption of a `metadata.jsonl`; empty where there is no such file."""
    if not path.is_file():
        return {}
    captions = {}
    for number, line in enumerate(_text(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            name, text = row["file_name"], row.get("text", row.get("caption", ""))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            name = text = None
        if not (isinstance(name, str) and isinstance(text, str)):
            raise UsageError(
                f'{path}, line {number}: got {line[:60]!r}, expected {{"file_name": "photo.jpg", '
                '"text": "portrait of ..."}'
            )
        captions[name] = " ".join(text.split())
    return captions


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as problem:
        raise UsageError(f"{path}: cannot be read ({problem.strerror or problem})") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not UTF-8 text; save it as UTF-8, or delete it") from None
