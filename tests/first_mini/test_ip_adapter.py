"""The training of the IP-Adapter: what it learns is what the library loads."""

from __future__ import annotations

import numpy as np
import torch

import portraitlib as pl
from recipes.first_mini import ip_adapter as recipe


def test_captions_leave_the_person_to_the_face():
    shots = recipe._person_shots(3)
    again = recipe._person_shots(3)
    assert (shots.images == again.images).all() and (shots.captions == again.captions).all()
    said = [str(text) for seed in range(12) for text in recipe._person_shots(seed).captions.ravel()]
    hairy = sum("hair" in text for text in said) / len(said)
    assert 0.05 < hairy < 0.4  # most leave it to the face, some teach that words may say it


def test_a_few_steps_go_on_where_they_stopped_and_the_library_draws_with_them(tmp_path, mini):
    shots = recipe.draw_shots(tmp_path / "shots.npz", 2)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    recipe.train_ip_adapter(tmp_path / "ip", shots, 1)
    recipe.train_ip_adapter(tmp_path / "ip", shots, 3)
    torch.set_num_threads(threads)
    recipe.write_ip_adapter(tmp_path / "ip", tmp_path / "weights")
    file = tmp_path / "weights" / "ip_adapter.safetensors"
    photos = pl.subject_photos()
    sampling = pl.Sampling(num_inference_steps=2, size_px=64)
    drawn = [
        pl.text_to_image(mini, "portrait of a man", sampling, person=person)[0].image
        for person in (None, pl.Likeness(photos, weights=str(file)))
    ]
    assert np.abs(np.subtract(*[np.asarray(image, dtype=int) for image in drawn])).mean() > 0.5
