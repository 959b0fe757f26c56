"""What steers a drawing: edges and lines by OpenCV, depth, pose and regions by pinned models."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hubs import Hub, run_apart
from PIL import Image

import portraitlib as pl
from portraitlib.generate import annotators
from portraitlib.generate.annotators import ANNOTATORS


@pytest.fixture(scope="module")
def photo() -> pl.Photo:
    return pl.subject_photos(size_px=64)[0]


@pytest.fixture(scope="module")
def edges(photo) -> pl.Condition:
    return pl.canny(photo)


def test_edges_are_eight_bits_in_three_channels_and_show_themselves(photo, edges):
    values = np.asarray(edges.image)
    assert (edges.kind, edges.image.mode, edges.image.size) == ("canny", "RGB", (64, 64))
    assert set(np.unique(values)) == {0, 255}
    assert edges._repr_png_().startswith(b"\x89PNG")
    assert edges.settings["low_threshold"] * 2 == edges.settings["high_threshold"]
    assert 0.03 < (values > 0).mean() < 0.3


def test_the_face_is_cut_as_image_to_image_cuts_it(astronaut):
    from portraitlib.photos.pictures import ready_picture

    wide = Image.new("RGB", (1400, 700), "gray")
    wide.paste(astronaut, (700, 100))
    square, _ = ready_picture(wide, 256)
    assert pl.canny(wide, 100, 200, size_px=256).image == pl.canny(square, 100, 200).image


def test_given_thresholds_are_kept_and_one_alone_brings_the_other(photo):
    import cv2

    grey = cv2.cvtColor(np.asarray(photo.image), cv2.COLOR_RGB2GRAY)
    own = pl.canny(photo, 60, 150)
    assert np.array_equal(np.asarray(own.image)[..., 0], cv2.Canny(grey, 60, 150))
    assert own.settings == {"low_threshold": 60, "high_threshold": 150}
    assert pl.canny(photo, low_threshold=60).settings["high_threshold"] == 120
    assert pl.canny(photo, high_threshold=60).settings["low_threshold"] == 30


def test_automatic_thresholds_follow_the_contrast(astronaut):
    faint = Image.blend(Image.new("RGB", astronaut.size, "gray"), astronaut, 0.4)
    strong = [pl.canny(picture, size_px=256) for picture in (astronaut, faint)]
    high = [each.settings["high_threshold"] for each in strong]
    assert 0.3 < high[1] / high[0] < 0.5
    shares = [(np.asarray(each.image) > 0).mean() for each in strong]
    assert abs(shares[0] - shares[1]) < 0.02


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [
        (200, 100, "low_threshold=200 above high_threshold=100; try low_threshold=100"),
        (-1, 100, "low_threshold: got -1, expected a number from 0.0 to 1000.0"),
        (100, 1001, "high_threshold: got 1001"),
        ("100", 200, "low_threshold: got '100'"),
        (float("nan"), 200, "low_threshold: got nan"),
    ],
)
def test_thresholds_swapped_or_out_of_range_are_told_in_one_line(photo, low, high, says):
    with pytest.raises(pl.UsageError, match=says) as refusal:
        pl.canny(photo, low, high)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("kind", ["canny", "soft edges", "line drawing"])
def test_a_blank_picture_has_no_edges_and_that_is_said(kind):
    with pytest.raises(pl.UsageError, match="no (edges|lines) in this picture"):
        pl.make_condition(Image.new("RGB", (64, 64), "teal"), kind)


@pytest.mark.parametrize("kind", ["soft edges", "line drawing"])
def test_soft_edges_and_lines_lie_where_canny_edges_lie(astronaut, kind):
    import cv2

    soft = np.asarray(pl.make_condition(astronaut, kind, size_px=256).image)[..., 0]
    sharp = np.asarray(pl.canny(astronaut, size_px=256).image)[..., 0]
    near = cv2.dilate(sharp, np.ones((5, 5), np.uint8)) > 0
    assert soft[near].mean() > 3 * soft[~near].mean()
    assert 0 < len(np.unique(soft)) <= 256 and soft.max() == 255


def test_only_canny_edges_have_thresholds_to_lower():
    blank = Image.new("RGB", (64, 64), "white")
    with pytest.raises(pl.UsageError, match="try lower thresholds or a picture that shows"):
        pl.canny(blank)
    with pytest.raises(pl.UsageError, match="blur_px=1.0; try a picture that shows something"):
        pl.make_condition(blank, "soft edges")


def test_an_unknown_kind_or_setting_is_told_what_comes_near(photo):
    with pytest.raises(pl.UsageError, match="kind: got None, expected one of canny, soft"):
        pl.make_condition(photo, None)
    with pytest.raises(pl.UsageError, match="did you mean canny"):
        pl.make_condition(photo, "cany")
    with pytest.raises(pl.UsageError, match="expected one of canny, soft edges"):
        pl.make_condition(photo, "sound")
    with pytest.raises(pl.UsageError, match="unknown setting 'blur', did you mean blur_px"):
        pl.make_condition(photo, "soft edges", blur=2)
    with pytest.raises(pl.UsageError, match="blur_px: got 0, expected"):
        pl.make_condition(photo, "soft edges", blur_px=0)


MAKE_ALL = """
import portraitlib as pl
photo = pl.subject_photos(size_px=64)[0]
for kind in ("depth", "pose"):
    made = pl.make_condition(photo, kind)
    print(kind, made.image.mode, made.image.size, made.settings["model"])
try:
    pl.make_condition(photo, "pose", blur_px=1)
except pl.UsageError as refusal:
    print(refusal)
"""


def tiny_annotators() -> dict:
    """The classes that the annotators name, as small as they can be, with random weights."""
    import transformers as t

    torch.manual_seed(0)
    backbone = t.Dinov2Config(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=518,
        patch_size=14,
        out_features=["stage1", "stage2", "stage3", "stage4"],
        reshape_hidden_states=False,
    )
    depth = t.DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=16,
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        head_hidden_size=8,
    )
    body = t.VitPoseBackboneConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, out_features=["stage1"]
    )
    pose = t.VitPoseForPoseEstimation(t.VitPoseConfig(backbone_config=body, num_labels=17))
    pose.head.conv.bias.data.fill_(1.0)  # sure of every joint
    return {"depth": t.DepthAnythingForDepthEstimation(depth), "pose": pose}


def test_depth_and_pose_come_from_pinned_models_of_the_hub(tmp_path, hub):
    for kind, model in tiny_annotators().items():
        annotator = ANNOTATORS[kind]
        model.save_pretrained(tmp_path / kind)
        Hub.repositories[annotator.source] = (annotator.revision, tmp_path / kind)
    told = run_apart(MAKE_ALL, tmp_path / "cache", hub).splitlines()
    assert told[:-1] == [
        f"{kind} RGB (64, 64) {annotator.source}@{annotator.revision}"
        for kind, annotator in ANNOTATORS.items()
    ]
    assert told[-1] == "pose: unknown setting 'blur_px', there is none"
    assert run_apart(MAKE_ALL, tmp_path / "cache", hub, offline="1").splitlines() == told


def test_a_skeleton_has_the_colours_and_joints_of_openpose():
    joints = [[10 + 5 * index, 64] for index in range(18)]
    drawn = annotators._skeleton(joints, [True] * 18, 128)
    assert drawn[64, 10].tolist() == [255, 0, 0] and drawn[64, 95].tolist() == [255, 0, 85]
    assert not annotators._skeleton(joints, [False] * 18, 128).any()


def test_without_the_network_a_model_that_is_missing_is_told_in_one_line(photo):
    with pytest.raises(pl.UsageError, match="Depth-Anything-V2-Small-hf: not, or not wholly, in"):
        pl.make_condition(photo, "depth")
