"""SDXL in a single safetensors file, as other programs have it: told by its tensors' names.

Knows no torch.
"""

from __future__ import annotations

import re
from pathlib import Path

from portraitlib.models.files import PICKLE_ENDINGS, check_safetensors
from portraitlib.places import PACKAGE
from portraitlib.settings import UsageError

# What a single file does not say: SDXL's configs, scheduler and words (CLIP's, by OpenAI, MIT).
CONFIGS = PACKAGE / "models" / "sdxl"

# A single file of SDXL by the beginnings of its tensors' names.
PARTS = {
    "unet": "model.diffusion_model.",
    "vae": "first_stage_model.",
    "text_encoder": "conditioner.embedders.0.transformer.",
    "text_encoder_2": "conditioner.embedders.1.model.",
}
# What else is around in single files, by names that no SDXL model has; the first that fits.
OTHERS = {
    r"lora_|.*\.lora_|.*\.(hada|lokr)_": "a LoRA, which Adapter.open reads, to be put on a model",
    r"(control_model|controlnet)": "a ControlNet",
    r"(model\.diffusion_model\.)?double_blocks\.": "a FLUX model",
    r"(model\.diffusion_model\.)?joint_blocks\.": "a Stable Diffusion 3 model",
    r"cond_stage_model\.transformer\.": "a Stable Diffusion 1 model",
    r"cond_stage_model\.model\.": "a Stable Diffusion 2 model",
    r"conditioner\.embedders\.0\.model\.": "SDXL's refiner",
    r"(edm_|v_pred$)": "an SDXL model that predicts something else than the noise",
    r"(down_blocks|up_blocks|decoder|text_model)\.": "one part of a model",
}
FIRST_LAYER = "model.diffusion_model.input_blocks.0.0.weight"


def check_single_file(path: Path) -> None:
    """Raise UsageError unless a file is an SDXL text-to-image model as other programs have it.

    Its tensors' names tell, before any is read.
    """
    if path.name.endswith(PICKLE_ENDINGS):
        raise UsageError(
            f"{path}: {path.suffix} is a pickle, which can run code when it is loaded; expected a "
            "single .safetensors; convert it where you trust it, such as by AUTOMATIC1111's "
            "checkpoint merger with safetensors as its format"
        )
    shapes = check_safetensors(path)
    expected = "expected an SDXL base model with its VAE and both text encoders"
    for sign, what in OTHERS.items():
        if any(re.match(sign, name) for name in shapes):
            raise UsageError(f"{path}: is {what}; {expected}")
    for part, beginning in PARTS.items():
        if not any(name.startswith(beginning) for name in shapes):
            raise UsageError(f"{path}: has no {part} ({beginning}*); {expected}")
    channels = shapes.get(FIRST_LAYER, [0, 0])[1]
    if channels != 4:
        raise UsageError(
            f"{path}: its UNet takes {channels} channels, expected 4: it is made for inpainting or "
            "editing, not for drawing from words"
        )
