"""JPEG files with a sound header and damaged pixels, and what libjpeg says."""

import io

import numpy as np
from PIL import Image


def _encoded(mode: str = "RGB", **options) -> bytes:
  small = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
  image = Image.fromarray(small).resize((160, 120), Image.Resampling.BICUBIC)
  file = io.BytesIO()
  image.convert(mode).save(file, "JPEG", quality=90, **options)
  return file.getvalue()


def _scan(data: bytes) -> int:
  """Where the pixels begin."""
  marker = data.index(b"\xff\xda")
  return marker + 2 + int.from_bytes(data[marker + 2 : marker + 4], "big")


def _cut(data: bytes, count: int = 300) -> bytes:
  middle = (_scan(data) + len(data)) // 2
  return data[:middle] + data[middle + count :]


def _overwritten(data: bytes, text: bytes) -> bytes:
  middle = (_scan(data) + len(data)) // 2
  return data[:middle] + text + data[middle + len(text) :]


def _wrong_restart(data: bytes, number: int) -> bytes:
  """Turns the sixth restart marker, RST5, into another one."""
  places = [
    place
    for place in range(_scan(data), len(data) - 1)
    if data[place] == 0xFF and 0xD0 <= data[place + 1] <= 0xD7
  ]
  place = places[5] + 1
  return data[:place] + bytes([0xD0 + number]) + data[place + 1 :]


GOOD = {
  "plain": _encoded(),
  "grey": _encoded("L"),
  "cmyk": _encoded("CMYK"),
  "progressive": _encoded(progressive=True),
  "restarts": _encoded(restart_marker_blocks=4),
  "bytes after the end": _encoded() + b"junk" * 50,
  # Of which libjpeg speaks as well, but its pixels are sound.
  "another JFIF": _encoded().replace(b"JFIF\0\1", b"JFIF\0\7"),
}
_CUT = "Corrupt JPEG data: premature end of data segment"
# Name -> content, what libjpeg says.
DAMAGED = {
  "cut": (_cut(GOOD["plain"]), _CUT),
  "grey": (_cut(GOOD["grey"]), _CUT),
  "cmyk": (_cut(GOOD["cmyk"]), _CUT),
  "early end": (_overwritten(GOOD["plain"], b"\xff\xd9"), _CUT),
  "ones": (
    _overwritten(GOOD["plain"], b"\xff\0" * 100),
    "Corrupt JPEG data: bad Huffman code",
  ),
  "longer": (
    GOOD["plain"][:-2] + b"\x12" * 240 + GOOD["plain"][-2:],
    "Corrupt JPEG data: 238 extraneous bytes before marker 0xd9",
  ),
  "progressive": (
    _overwritten(GOOD["progressive"], b"\x55" * 20),
    "Corrupt JPEG data: 25 extraneous bytes before marker 0xc4",
  ),
  "restart": (
    _wrong_restart(GOOD["restarts"], 0),
    "Corrupt JPEG data: found marker 0xd0 instead of RST5",
  ),
}
# Which nothing can read.
UNREADABLE = {
  "truncated": GOOD["plain"][:-60],
  "progressive": GOOD["progressive"][: len(GOOD["progressive"]) // 2],
}
