"""`mount` makes the folder that Colab shows somebody's Drive in."""

from pathlib import Path


def mount(mountpoint: str, force_remount: bool = False) -> None:
    (Path(mountpoint) / "MyDrive").mkdir(parents=True, exist_ok=True)
    print(f"Mounted at {mountpoint}")
