"""A person's photos as part of the prompt, without a training: an IP-Adapter beside the words.

What a network sees in the photos becomes a few tokens, and each cross-attention of the UNet has
keys and values of its own for them (Ye et al. 2023, https://arxiv.org/abs/2308.06721).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from portraitlib.models import files
from portraitlib.models.load import Model
from portraitlib.models.parts import load_part, quiet_loading
from portraitlib.models.presets import PRESETS, IpAdapterSource
from portraitlib.photos.audit import find_strangers, is_crowd
from portraitlib.photos.faces.find import DRAWN, FINDERS, encoder_for
from portraitlib.photos.photo_set import Likeness, Photo, PhotoSet
from portraitlib.photos.pictures import picture_hash
from portraitlib.places import once
from portraitlib.settings import UsageError, acts_in, nearest, shown

PEOPLE_KEPT = 8  # photo sets that a model remembers as its network sees them; 0.7 MB a photo
CLIP_PX = 224
# The mean and spread of the colours that CLIP was trained on.
CLIP_MEAN = np.array((0.48145466, 0.4578275, 0.40821073), np.float32)
CLIP_SPREAD = np.array((0.26862954, 0.26130258, 0.27577711), np.float32)


@dataclass(frozen=True, eq=False)
class IpAdapter:
    """Loaded weights, ready to be put into a UNet for the time of a drawing.

    processors: of each attention. projection: what makes tokens of what `look` sees in photos,
    (1, photos, ...), and of nothing. people: what was seen last, filled by `speak_for`.
    """

    name: str
    revision: str
    scale: float
    processors: dict[str, Any] = field(repr=False)
    projection: Any = field(repr=False)
    look: Callable[[PhotoSet], tuple[torch.Tensor, torch.Tensor]] = field(repr=False)
    people: OrderedDict[Any, Any] = field(default_factory=OrderedDict, repr=False)


@dataclass(frozen=True, eq=False)
class Speaking:
    """What photos say in one drawing: embeds (1 or 2, photos, ...), the half without the prompt
    first, and how loud in each step that is run. entry: what a recipe says of it."""

    ip_adapter: IpAdapter = field(repr=False)
    embeds: torch.Tensor = field(repr=False)
    scales: list[float]
    entry: dict[str, Any]

    def at_step(self, step: int) -> None:
        """Be as loud as in this step, from 0; after the last it does not matter."""
        for processor in self.ip_adapter.processors.values():
            if hasattr(processor, "scale"):
                processor.scale = [self.scales[min(step, len(self.scales) - 1)]]


def speak_for(
    model: Model, person: PhotoSet | Likeness | None, guided: bool, steps: int
) -> Speaking | None:
    """What a person's photos say in a drawing of so many steps; None where nobody is given.

    Raises UsageError for photos that show nobody or several people, and for weights that are
    missing, pickled, or of another base model or kind.
    """
    if person is None:
        return None
    likeness = Likeness(person) if isinstance(person, PhotoSet) else person
    if not isinstance(likeness, Likeness):
        raise UsageError(
            f"person: got {shown(person)}, expected photos; try pl.read_photos(folder), or "
            "pl.Likeness(photos, scale=0.7)"
        )
    photos = _one_person(likeness.photos)
    loaded = load_ip_adapter(model, likeness.weights)
    hashes = [picture_hash(photo.preview) for photo in photos]
    nothing, seen = once(loaded.people, tuple(hashes), PEOPLE_KEPT, lambda: loaded.look(photos))
    embeds = torch.cat([nothing, seen] if guided else [seen]).to(model.device, model.dtype)
    scale = loaded.scale if likeness.scale is None else likeness.scale
    acts = [acts_in(likeness, step, steps) for step in range(steps)]
    entry = {"photos": hashes, "scale": scale, "start": likeness.start, "end": likeness.end}
    entry |= {"weights": loaded.name, "revision": loaded.revision}
    return Speaking(loaded, embeds, [scale * act for act in acts], entry)


@contextmanager
def speaking(model: Model, speech: Speaking | None) -> Iterator[dict[str, Any]]:
    """For a while the UNet listens to photos too; what a pipeline of diffusers is to be given."""
    if speech is None:
        yield {}
        return
    unet, loaded = model.pipeline.unet, speech.ip_adapter
    before = unet.attn_processors
    unet.set_attn_processor(dict(loaded.processors))
    unet.encoder_hid_proj = loaded.projection.to(model.device)
    unet.config.encoder_hid_dim_type = "ip_image_proj"
    speech.at_step(0)
    try:
        yield {"ip_adapter_image_embeds": [speech.embeds]}
    finally:
        _silence(unet, before)


def _silence(unet: Any, processors: dict[str, Any]) -> None:
    unet.encoder_hid_proj = None  # first: Plus-Face's has attentions of its own
    unet.config.encoder_hid_dim_type = None
    unet.set_attn_processor(dict(processors))


def _one_person(photos: PhotoSet) -> PhotoSet:
    """The photos; raises UsageError unless each shows a face, and all of them one person."""
    if not isinstance(photos, PhotoSet) or not len(photos):
        raise UsageError(f"person: got {shown(photos)}, expected one photo or more")
    empty = [photo.name for photo in photos if photo.face is None]
    if empty:
        raise UsageError(f"person: no face was found in {empty[0]}; leave it out, or try a nearer")
    embedded = [photo for photo in photos if photo.embedding is not None]
    encoder = encoder_for(FINDERS[str(photos[0].finder)].made_for)
    if len(photos.finders) == 1 and encoder and len(embedded) > 1:
        points = np.stack([photo.embedding for photo in embedded if photo.embedding is not None])
        strangers, _ = find_strangers(points, encoder)
        if strangers or is_crowd(points, encoder):
            whose = f": {embedded[min(strangers)].name} is somebody else" if strangers else ""
            raise UsageError(
                f"person: the photos show more than one person{whose}; try photos of one"
            )
    return photos


# --- weights -------------------------------------------------------------------------------------


def load_ip_adapter(model: Model, weights: str | None = None) -> IpAdapter:
    """The IP-Adapter of a model, loaded once, then remembered by the model.

    weights: a .safetensors file, or the preset whose weights are meant; None for the model's own.
    Raises UsageError in one line where there is none, and before it is loaded if it does not fit.
    """
    if weights not in model.ip_adapters:
        model.ip_adapters[weights] = _load(model, *_find(model, weights))
    return model.ip_adapters[weights]


def _find(model: Model, weights: str | None) -> tuple[IpAdapterSource, Path]:
    """Whose weights, and the file that they are in."""
    source = model.preset.ip_adapter if weights is None else None
    if weights in PRESETS:
        source = PRESETS[weights].ip_adapter
    elif weights is not None:
        path = Path(weights).expanduser()
        if "faceid" in path.name.lower():
            raise UsageError(
                f"{path}: FaceID weights want a face encoder whose licence forbids commercial use; "
                'try Likeness(photos, weights="sdxl"), which is Plus-Face'
            )
        if path.suffix != ".safetensors":
            pickle = path.suffix in files.PICKLE_ENDINGS
            what = "a pickle, which can run code" if pickle else shown(weights)
            raise UsageError(
                f"Likeness.weights: got {what}, expected an IP-Adapter's .safetensors or a preset: "
                f"{nearest(weights, PRESETS)}"
            )
        kind = _kind_of(path, files.check_safetensors(path))
        return kind._replace(name=path.name, file=str(path), revision=None), path
    if source is None:
        raise UsageError(
            f"{model.name} has no IP-Adapter of its own; one like SDXL takes that of the preset: "
            'Likeness(photos, weights="sdxl")'
        )
    if source.hub is None:
        return source, Path(source.file)
    return source, files.fetch_file(source.hub, source.file, revision=source.revision)


def _load(model: Model, source: IpAdapterSource, path: Path) -> IpAdapter:
    shapes = files.check_safetensors(path)
    _check_fits(model, path, shapes)
    state: dict[str, dict[str, torch.Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    with files.open_safetensors(path, "pt") as file:
        for name in shapes:
            part, _, key = name.partition(".")
            state[part][key] = file.get_tensor(name).to(model.dtype)
    unet = model.pipeline.unet
    before = unet.attn_processors
    try:
        with quiet_loading():
            # Into the place where diffusers loads them, and out of it until somebody draws.
            unet._load_ip_adapter_weights([state], low_cpu_mem_usage=False)
        projection, unet.encoder_hid_proj = unet.encoder_hid_proj, None
        processors = unet.attn_processors
    except (KeyError, RuntimeError) as problem:
        raise UsageError(
            f"{path}: not a whole IP-Adapter ({str(problem).splitlines()[0]})"
        ) from None
    finally:
        _silence(unet, before)
    for part in (projection, *processors.values()):
        if isinstance(part, torch.nn.Module):
            part.requires_grad_(False)
    revision = source.revision or files.content_revision(path)
    look = LOOKS[source.looks].of(model, source)
    return IpAdapter(source.name, revision, source.scale, processors, projection, look)


def _kind_of(path: Path, shapes: dict[str, list[int]]) -> IpAdapterSource:
    """The preset's that reads photos in the same way; raises UsageError if there is none."""
    parts = {name.partition(".")[0] for name in shapes}
    if parts != {"image_proj", "ip_adapter"}:
        raise UsageError(
            f"{path}: not an IP-Adapter; expected tensors of image_proj and ip_adapter, got "
            f"{', '.join(sorted(parts)[:3])}"
        )
    for preset in PRESETS.values():
        if (source := preset.ip_adapter) is not None:
            first, width = LOOKS[source.looks].reads
            if shapes.get(first, [0, 0])[1] == width:
                return source
    raise UsageError(
        f"{path}: an IP-Adapter of another kind, which reads something else than faces by mini's "
        "encoder or Plus-Face's CLIP; try the preset's own"
    )


def _check_fits(model: Model, path: Path, shapes: dict[str, list[int]]) -> None:
    """Raise UsageError unless the layers for words are those of the model."""
    keys = [shape for name, shape in shapes.items() if name.endswith("to_k_ip.weight")]
    unet = model.pipeline.unet
    names = [name for name in unet.attn_processors if name.endswith("attn2.processor")]
    wanted = [
        list(unet.get_submodule(name.removesuffix(".processor")).to_k.weight.shape)
        for name in names
    ]
    if sorted(keys) != sorted(wanted):
        raise UsageError(
            f"{path}: an IP-Adapter of another base model than {model.name}: {len(keys)} layers of "
            f"words {keys[0][1] if keys else 0} wide, expected {len(wanted)} of {wanted[0][1]}"
        )


# --- what a network sees in photos ---------------------------------------------------------------


def _by_mini(model: Model, source: IpAdapterSource) -> Callable[[PhotoSet], Any]:
    """Faces of the embedded model's world by its own encoder; those of several photos averaged."""

    def look(photos: PhotoSet) -> tuple[torch.Tensor, torch.Tensor]:
        from portraitlib.mini.judge import LANDMARKS
        from portraitlib.mini.likeness import face_features
        from portraitlib.photos.faces.find import judged

        others = [p.name for p in photos if FINDERS[str(p.finder)].made_for != DRAWN]
        if others:
            raise UsageError(
                f"person: {others[0]} is a photograph, and {model.name} knows the faces of its own "
                "drawn world alone; try pl.subject_photos(), or teach the face: "
                "pl.train_dreambooth"
            )
        marks = [
            [np.divide(photo.face.landmarks[name], photo.original_size) for name in LANDMARKS]
            for photo in photos
            if photo.face
        ]
        images = np.stack([judged(photo.preview) for photo in photos])
        seen = face_features(images, np.array(marks, np.float32)).mean(0)[None, None]
        return torch.zeros_like(seen), seen

    return look


def _by_clip(model: Model, source: IpAdapterSource) -> Callable[[PhotoSet], Any]:
    """Heads as the last but one layer of CLIP's ViT-H sees them; each photo adds its tokens."""
    assert source.hub is not None
    names = ("config.json", "model.safetensors")
    found = [
        files.fetch_file(source.hub, f"{source.image_encoder}/{name}", revision=source.revision)
        for name in names
    ]
    with quiet_loading():
        import transformers

        weights = files.Weights(found[0].parent, None, names[1:])
        kind = transformers.CLIPVisionModelWithProjection
        network = load_part(kind, weights, model.dtype).requires_grad_(False)

    @torch.no_grad()
    def look(photos: PhotoSet) -> tuple[torch.Tensor, torch.Tensor]:
        rows = np.stack([_head(photo) for photo in photos]).astype(np.float32) / 255
        pixels = (
            torch.from_numpy((rows - CLIP_MEAN) / CLIP_SPREAD)
            .permute(0, 3, 1, 2)
            .to(model.device, model.dtype)
        )
        network.to(model.device)
        both = [
            network(pixel_values=values, output_hidden_states=True).hidden_states[-2][None]
            for values in (torch.zeros_like(pixels), pixels)
        ]
        network.to("cpu")  # until other photos come: it is as large as a third of the UNet
        return both[0], both[1]

    return look


def _head(photo: Photo) -> np.ndarray:
    """The square about a photo's head, (224, 224, 3) uint8."""
    assert photo.face is not None
    factor = photo.preview.width / photo.original_size[0]
    left, top, right, bottom = photo.face.scaled(factor).head
    reach = max(right - left, bottom - top) / 2
    middle = (left + right) / 2, (top + bottom) / 2
    box = [round(at + side * reach) for side in (-1, 1) for at in middle]
    size = (CLIP_PX, CLIP_PX)
    cut = photo.preview.crop((box[0], box[1], box[2], box[3]))  # black beyond the picture
    return np.asarray(cut.resize(size, Image.Resampling.BICUBIC))


class Look(NamedTuple):
    """Who looks at photos, and the tensor by whose width one knows what it was taught to read."""

    of: Callable[[Model, IpAdapterSource], Callable[[PhotoSet], Any]]
    reads: tuple[str, int]


LOOKS = {
    "mini": Look(_by_mini, ("image_proj.proj.0.weight", 256)),
    "clip": Look(_by_clip, ("image_proj.proj_in.weight", 1280)),
}
