"""A person's photos beside the words: they are seen in the picture, and nowhere after it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hubs import Hub, run_apart
from safetensors.torch import load_file, save_file

import portraitlib as pl
from portraitlib.generate.person import IpAdapterSource, _check_fits, _kind_of, load_ip_adapter
from portraitlib.models import single_file
from portraitlib.models.presets import PRESETS

PROMPT = "portrait of a man, photorealistic"
FEW = pl.Sampling(seed=3, num_images=2, num_inference_steps=4, size_px=64)
MINIS = Path(str(PRESETS["mini"].ip_adapter.file))


def pixels(portraits) -> np.ndarray:
    return np.stack([np.asarray(portrait.image, dtype=int) for portrait in portraits])


@pytest.fixture(scope="module")
def his():
    return pl.subject_photos()


def test_one_photo_makes_it_the_person(mini, his):
    one = replace(his, photos=his.photos[:1])
    sampling = pl.Sampling(seed=40, num_images=6)
    held_out = pl.subject_photos(held_out=True)
    means = []
    for person in (None, one):
        portraits = pl.text_to_image(mini, PROMPT, sampling, person=person)
        rows = pl.measure(portraits, photos=held_out).rows
        means.append(np.mean([row["likeness"] for row in rows if row["likeness"] is not None]))
    assert means[1] > means[0] + 0.3


def test_the_model_is_as_before_when_the_picture_is_drawn(mini, his):
    before = pixels(pl.text_to_image(mini, PROMPT, FEW))
    with_him = pixels(pl.text_to_image(mini, PROMPT, FEW, person=his))
    assert np.abs(with_him - before).mean() > 5
    assert (pixels(pl.text_to_image(mini, PROMPT, FEW)) == before).all()
    silent = pl.text_to_image(mini, PROMPT, FEW, person=pl.Likeness(his, scale=0))
    assert np.abs(pixels(silent) - before).max() <= 1
    with pytest.raises(ZeroDivisionError):
        pl.text_to_image(mini, PROMPT, FEW, person=his, on_step=lambda step, total: 1 // 0)
    assert (pixels(pl.text_to_image(mini, PROMPT, FEW)) == before).all()


def test_photos_act_between_start_and_end_only(mini, his, shots, edges):
    heard = []
    loaded = load_ip_adapter(mini)
    processor = next(p for p in loaded.processors.values() if hasattr(p, "scale"))

    def listen(step: int, total: int) -> None:
        heard.append(processor.scale[0])

    person = pl.Likeness(his, scale=0.8, start=0.25, end=0.75)
    plain = pixels(pl.text_to_image(mini, PROMPT, FEW))
    mine = {
        "text": lambda: pl.text_to_image(mini, PROMPT, FEW, person=person, on_step=listen),
        "control": lambda: pl.control_to_image(
            mini, edges, PROMPT, FEW, pl.Control(scale=0.0), person=person, on_step=listen
        ),
    }
    drawn = {}
    for name, draw in mine.items():
        heard.clear()
        drawn[name] = pixels(draw())
        # Steps 1 to 4 of 4; in a picture from words the next step's is set before one hears it.
        assert sorted(heard) == [0.0, 0.0, 0.8, 0.8], name
    assert np.abs(drawn["text"] - plain).mean() > 1
    assert np.abs(drawn["text"] - drawn["control"]).max() <= 2  # the same, by two ways


def test_every_way_to_draw_takes_a_person_and_draws_him_again(mini, his, shots, edges):
    mask = np.zeros((64, 64), bool)
    mask[16:48, 16:48] = True
    one = pl.Likeness(replace(his, photos=his.photos[:2]), scale=0.6)
    sampling = replace(FEW, num_images=1)
    ways = [
        (pl.text_to_image(mini, PROMPT, sampling, person=one), {}),
        (pl.image_to_image(mini, shots[0], PROMPT, sampling, person=one), {"image": shots[0]}),
        (
            pl.inpaint(mini, shots[0], mask, PROMPT, sampling, person=one),
            {"image": shots[0], "mask": mask},
        ),
        (pl.control_to_image(mini, edges, PROMPT, sampling, person=one), {"condition": edges}),
    ]
    for (portrait,), given in ways:
        said = portrait.recipe["person"]
        assert (len(said["photos"]), said["scale"], said["weights"]) == (2, 0.6, "mini")
        assert json.loads(json.dumps(said)) == said
        again = pl.rerun(portrait, mini, person=one.photos, **given)
        assert (pixels([again]) == pixels([portrait])).all()
    with pytest.raises(pl.UsageError, match="person: got none, expected whose photos"):
        pl.rerun(ways[0][0][0], mini)
    with pytest.raises(pl.UsageError, match="person: got another"):
        pl.rerun(ways[0][0][0], mini, person=his)


def test_how_hard_they_hold_is_swept_like_any_setting(mini, his):
    table = pl.sweep(
        pl.text_to_image, mini, PROMPT, replace(FEW, num_images=1),
        vary={"scale": [0.0, 0.5, 1.0]}, person=pl.Likeness(his),
    )  # fmt: skip
    changes = [np.abs(pixels([p]) - pixels([table.portraits[0]])).mean() for p in table.portraits]
    assert changes[0] == 0 < changes[1] < changes[2]


def test_photos_are_looked_at_once_and_an_adapter_goes_with_them(mini, his, unet_lora, monkeypatch):
    looked = []
    loaded = load_ip_adapter(mini)
    fresh = replace(loaded, look=lambda photos: looked.append(1) or loaded.look(photos))
    fresh.people.clear()
    model = replace(mini, ip_adapters={None: fresh})
    sampling = replace(FEW, num_images=1)
    plain = pl.text_to_image(model, PROMPT, sampling, person=his)
    taught = pl.text_to_image(model.with_adapter(unet_lora), PROMPT, sampling, person=his)
    assert looked == [1]
    assert np.abs(pixels(plain) - pixels(taught)).mean() > 0.5


def refused(*arguments, **settings) -> str:
    with pytest.raises(pl.UsageError) as refusal:
        pl.text_to_image(*arguments, **settings)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_what_is_no_person_is_said_in_one_line(mini, his, astronaut, tmp_path):
    from recipes.first_mini.subject import photos_of

    assert "expected photos" in refused(mini, PROMPT, FEW, person="me.jpg")
    faceless = replace(his.photos[0], chosen=None, faces=(), finder=None)
    assert f"no face was found in {faceless.name}" in refused(
        mini, PROMPT, FEW, person=replace(his, photos=(*his.photos[1:], faceless))
    )
    other = photos_of(5)
    both = replace(his, photos=(*his.photos[:3], other.photos[0]))
    assert "more than one person" in refused(mini, PROMPT, FEW, person=both)
    pair = replace(his, photos=(his.photos[0], other.photos[0]))
    assert "more than one person" in refused(mini, PROMPT, FEW, person=pair)
    astronaut.save(tmp_path / "a.png")
    photograph = pl.read_photos(tmp_path, size_px=512)
    assert "knows the faces of its own drawn world" in refused(mini, PROMPT, FEW, person=photograph)
    with pytest.raises(pl.UsageError, match=r"Likeness.scale: got 40, expected a number from 0"):
        pl.Likeness(his, scale=40)
    with pytest.raises(pl.UsageError, match="expected start before end"):
        pl.Likeness(his, start=0.5, end=0.5)


def test_weights_that_do_not_fit_are_refused_before_they_are_loaded(mini, his, tmp_path):
    def told(path) -> str:
        return refused(mini, PROMPT, FEW, person=pl.Likeness(his, weights=str(path)))

    (tmp_path / "face.bin").write_bytes(b"x")
    assert "a pickle" in told(tmp_path / "face.bin")
    assert "forbids commercial use" in told(tmp_path / "ip-adapter-faceid_sdxl.bin")
    assert "expected an IP-Adapter's .safetensors or a preset" in told("plus-face")
    (tmp_path / "cut.safetensors").write_bytes(MINIS.read_bytes()[:9999])
    assert "not a whole safetensors file" in told(tmp_path / "cut.safetensors")
    save_file({"unet.x": torch.zeros(2)}, tmp_path / "lora.safetensors")
    assert "not an IP-Adapter" in told(tmp_path / "lora.safetensors")
    tensors = load_file(MINIS)
    wide = {k: v.repeat(1, 2) if "_ip" in k else v for k, v in tensors.items()}
    save_file({k: v.contiguous() for k, v in wide.items()}, tmp_path / "wide.safetensors")
    assert "of another base model than mini" in told(tmp_path / "wide.safetensors")
    first = "image_proj.proj.0.weight"
    odd = tensors | {first: tensors[first][:, :99].contiguous()}
    save_file(odd, tmp_path / "odd.safetensors")
    assert "of another kind" in told(tmp_path / "odd.safetensors")
    save_file(dict(tensors), tmp_path / "same.safetensors")
    one = replace(FEW, num_images=1)
    own = pl.text_to_image(mini, PROMPT, one, person=his)
    named = pl.Likeness(his, weights=str(tmp_path / "same.safetensors"))
    assert (pixels(pl.text_to_image(mini, PROMPT, one, person=named)) == pixels(own)).all()
    nobodys = replace(mini, preset=replace(mini.preset, ip_adapter=None), ip_adapters={})
    assert 'weights="sdxl"' in refused(nobodys, PROMPT, FEW, person=his)


def test_diffusers_loads_the_shipped_weights_and_draws_the_same(mini, his):
    from portraitlib.models.load import sibling_pipeline

    loaded = load_ip_adapter(mini)
    nothing, seen = loaded.look(his)
    ours = pl.text_to_image(mini, PROMPT, replace(FEW, num_images=1), person=pl.Likeness(his, 0.7))
    theirs = pl.load_model("mini", device="cpu")
    pipeline = sibling_pipeline(theirs, "StableDiffusionXLPipeline")
    pipeline.load_ip_adapter(
        str(MINIS.parent), subfolder="", weight_name=MINIS.name, image_encoder_folder=None
    )
    pipeline.set_ip_adapter_scale(0.7)
    generator = torch.Generator().manual_seed(3)
    (picture,) = pipeline(
        PROMPT, num_inference_steps=4, guidance_scale=2.0, width=64, height=64,
        generator=generator, ip_adapter_image_embeds=[torch.cat([nothing, seen])],
    ).images  # fmt: skip
    assert np.abs(np.asarray(picture, dtype=int) - pixels(ours)[0]).max() <= 1
    assert MINIS.stat().st_size <= 6e6


# --- SDXL's --------------------------------------------------------------------------------------

PLUS = {"ln0": "0.norm1", "ln1": "0.norm2", "attn.to_q": "0.to_q", "attn.to_out.0": "0.to_out"}
PLUS |= {"ff.0": "1.0", "ff.1.net.0.proj": "1.1", "ff.1.net.2": "1.3"}


def plus_face(unet, hidden: int = 64, tokens: int = 4) -> dict[str, torch.Tensor]:
    """Random weights as h94's Plus-Face names them, for a UNet."""
    from diffusers.models.embeddings import IPAdapterPlusImageProjection

    torch.manual_seed(0)
    width = unet.config.cross_attention_dim
    made = IPAdapterPlusImageProjection(1280, width, hidden, heads=hidden // 64, num_queries=tokens)
    state = made.state_dict()
    tensors = {}
    for name, value in state.items():
        if ".to_k." in name:
            both = [value, state[name.replace(".to_k.", ".to_v.")]]
            name, value = name.replace("attn.to_k", "0.to_kv"), torch.cat(both)
        elif ".to_v." in name:
            continue
        for ours, theirs in PLUS.items():
            name = name.replace(f".{ours}.", f".{theirs}.")
        tensors[f"image_proj.{name}"] = value
    names = [name for name in unet.attn_processors if name.endswith("attn2.processor")]
    for place, name in enumerate(names):
        attention = unet.get_submodule(name.removesuffix(".processor"))
        for part in ("to_k", "to_v"):
            shape = getattr(attention, part).weight.shape
            tensors[f"ip_adapter.{2 * place + 1}.{part}_ip.weight"] = torch.randn(shape) / 9
    return tensors


DRAW = """
import numpy as np, torch, warnings
import portraitlib as pl
from portraitlib.generate.person import _head
from PIL import Image
model = pl.load_model({folder!r})
photos = pl.subject_photos(size_px=64)
one = type(photos)(photos.photos[:1], size_px=64)
sampling = pl.Sampling(seed=3, num_inference_steps=2, size_px=64)
person = pl.Likeness(one, scale=0.7, weights="sdxl")
(ours,) = pl.text_to_image(model, "portrait of a man", sampling, person=person)
pl.text_to_image(model, "portrait of a man", sampling, person=pl.Likeness(photos, weights="sdxl"))
pipeline = pl.load_model({folder!r}).pipeline
pipeline.load_ip_adapter({home!r}, subfolder="sdxl_models",
    weight_name="ip-adapter-plus-face_sdxl_vit-h.safetensors",
    image_encoder_folder="models/image_encoder")
pipeline.set_ip_adapter_scale(0.7)
(theirs,) = pipeline("portrait of a man", num_inference_steps=2, guidance_scale=5.0, width=64,
    height=64, generator=torch.Generator().manual_seed(3),
    ip_adapter_image=Image.fromarray(_head(one[0]))).images
apart = np.abs(np.asarray(theirs, int) - np.asarray(ours.image, int)).max()
print("apart", apart, ours.recipe["person"]["revision"])
"""


def test_plus_face_comes_pinned_from_the_hub_and_draws_as_diffusers_does(hub, mini, tmp_path):
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    source = PRESETS["sdxl"].ip_adapter
    home = tmp_path / "h94"
    (home / "sdxl_models").mkdir(parents=True)
    save_file(plus_face(mini.pipeline.unet), home / source.file)
    config = CLIPVisionConfig(
        hidden_size=1280, intermediate_size=64, num_hidden_layers=2, num_attention_heads=16,
        image_size=224, patch_size=56, projection_dim=64,
    )  # fmt: skip
    CLIPVisionModelWithProjection(config).save_pretrained(home / source.image_encoder)
    Hub.repositories[source.hub] = (source.revision, home)
    folder = Path(PRESETS["mini"].source)
    copy = tmp_path / "sdxl_shaped"
    copy.symlink_to(folder)
    code = DRAW.format(folder=str(copy), home=str(home))
    told = run_apart(code, tmp_path / "cache", hub).splitlines()[-1].split()
    assert told[0] == "apart" and int(told[1]) <= 1
    assert told[2] == source.revision


def test_plus_face_fits_sdxl_of_full_size_by_its_shapes():
    from benchmarks import sdxl_size

    unet = sdxl_size.make_part(single_file.CONFIGS, "unet")
    source = PRESETS["sdxl"].ip_adapter
    assert isinstance(source, IpAdapterSource)
    with torch.device("meta"):
        shapes = {k: list(v.shape) for k, v in plus_face(unet, 1280, 16).items()}
    model = type("Model", (), {"name": "sdxl", "pipeline": type("P", (), {"unet": unet})})
    assert _kind_of(Path("plus_face.safetensors"), shapes) is source
    _check_fits(model, Path("plus_face.safetensors"), shapes)
    numbers = sum(int(np.prod(shape)) for shape in shapes.values())
    assert numbers * 2 == pytest.approx(848e6, rel=0.01)  # the file on the hub, in 16 bits
    with pytest.raises(pl.UsageError, match="another base model than sdxl"):
        _check_fits(model, Path("x"), {k: v for k, v in shapes.items() if ".1.to_k" not in k})
