"""Photos with what cameras write into them."""

from __future__ import annotations

import struct

from PIL import Image, PngImagePlugin

SECRETS = (b"SERIAL-77", b"Jane Doe", b"GPSmark", b"secret words")


def photo_with_secrets(picture: Image.Image, path) -> None:
    exif = Image.Exif()
    exif[0x013B] = "Jane Doe"
    exif.get_ifd(0x8769).update({0xA431: "SERIAL-77", 0x9286: b"ASCII\0\0\0secret words"})
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 29.6), 29: "GPSmark"})
    texts = {}
    if path.suffix == ".png":
        texts["pnginfo"] = PngImagePlugin.PngInfo()
        texts["pnginfo"].add_text("Comment", "secret words")
        texts["pnginfo"].add_itxt("XML:com.adobe.xmp", "<x>SERIAL-77 GPSmark</x>")
    elif path.suffix == ".jpg":
        texts = {"comment": b"secret words", "xmp": b"<x>SERIAL-77</x>"}
    picture.save(path, exif=exif, **texts)


def adobe_rgb() -> bytes:
    """A small ICC profile: the primaries of Adobe RGB (1998), gamma 2.2."""

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in values))

    gamma = b"curv\0\0\0\0" + struct.pack(">IHH", 1, round(2.2 * 256), 0)
    name = b"desc\0\0\0\0" + struct.pack(">I", 6) + b"wide!\0" + bytes(78 + 4)
    tags = {
        b"desc": name,
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"rXYZ": xyz(0.60974, 0.31111, 0.01947),
        b"gXYZ": xyz(0.20528, 0.62567, 0.06087),
        b"bXYZ": xyz(0.14919, 0.06322, 0.74457),
        b"rTRC": gamma,
        b"gTRC": gamma,
        b"bTRC": gamma,
        b"cprt": b"text\0\0\0\0free\0\0\0\0",
    }
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for tag, content in tags.items():
        table += tag + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(">I4sI4s4s4s", start + len(body), b"\0\0\0\0", 0x02400000, b"mntr",
                         b"RGB ", b"XYZ ")  # fmt: skip
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + table + body
