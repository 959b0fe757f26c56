"""What the tests of the studio share: the example's photos, and a studio with them."""

from __future__ import annotations

import pytest

import portraitlib as pl


@pytest.fixture
def photos():
    return pl.subject_photos()


@pytest.fixture
def studio(mini, photos, tmp_path):
    from pressing import QUICK

    from portraitlib.studio.app import Studio

    return Studio(mini, photos, QUICK, tmp_path / "studio", made=[])
