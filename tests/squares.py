"""The notebook of which batches are made: its parameters, and how it draws a square."""

PARAMETERS = """\
seed: int = 0  # picks the colour, 0 to 255
strength: float = 0.5  # nothing
prompt: str = "a square"  # what it shows
fast: bool = False  # nothing
names: list = ["a"]  # nothing
scales: list = [0.5]  # of something
photos_dir: str = ""  # a folder
output_dir: str = "runs/tiny"  # where results go
"""
DRAW = """\
import portraitlib as pl
from PIL import Image
recipe = {"prompt": prompt, "seed": seed, "model": "none", "device": "cpu"}
portraits = [pl.Portrait(Image.new("RGB", (8, 8), (seed, 0, 0)), recipe)]
pl.save_results(output_dir, {"Squares": portraits}, {"twice the seed": 2.0 * seed})
"""


def quiet(line: str) -> None:
    pass
