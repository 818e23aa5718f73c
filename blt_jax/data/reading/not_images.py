"""Says what a file is that Pillow can't open."""

from typing import Literal

# The brands of HEIF, after the 8 bytes that begin such a file.
_HEIC = b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"
# How a file begins -> what it is and what is expected.
_BEGINNINGS = {
  b"<!doctype html": "a web page; expected an image",
  b"<html": "a web page; expected an image",
  b"<svg": "SVG, a drawing without pixels; expected another format",
  b"version https://git-lfs": "a pointer of Git LFS; `git lfs pull` gets the "
  "image",
  b"%pdf": "PDF; expected an image",
  b"\xff\x0a": "JPEG XL; expected another format",
  b"\0\0\0\x0cjxl ": "JPEG XL; expected another format",
}
# How files of common formats begin.
_FORMATS = {b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"GIF8": "GIF"}
_TIFF = b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"


def reason(data: bytes, pillows: str) -> str:
  """Why Pillow can't open a file, as far as its first bytes tell.

  Args:
    data: content of the file.
    pillows: Pillow's reason, or "" where it knows no such format.

  Returns:
    The reason and what is expected instead, without the file's name.
  """
  if not data:
    return "an empty file"
  if data[4:8] == b"ftyp" and data[8:12] in _HEIC:
    return "HEIC; expected another format, or `pip install pillow-heif`"
  if data[4:12] == b"ftypavif":
    return "AVIF that this Pillow can't read; expected another format"
  if data[:4] in _TIFF and _ends_early(data):
    return "damaged: the end of this TIFF is missing"
  if data[:4] in _TIFF and not pillows:
    return (
      "TIFF of a kind that Pillow can't read; expected grey, RGB or RGBA of 8 "
      "or 16 bits, or grey floats of 32"
    )
  if data[128:132] == b"DICM":
    return "DICOM; expected another format"
  begin = data[:512].lstrip().lower()
  for beginning, found in _BEGINNINGS.items():
    if begin.startswith(beginning):
      return found
  if begin.startswith(b"<?xml") and b"<svg" in begin:
    return _BEGINNINGS[b"<svg"]
  if not data.strip(b"\0"):
    return f"{len(data)} bytes that are all 0; expected an image"
  if pillows:
    return f"damaged: {pillows}"
  for beginning, name in _FORMATS.items():
    if data.startswith(beginning):
      return f"damaged: the header of this {name} is cut or wrong"
  return "not an image that can be read"


def _ends_early(data: bytes) -> bool:
  """Whether a TIFF ends before its header, which may be its last part."""
  order: Literal["little", "big"] = "little" if data[:1] == b"I" else "big"
  big = b"+" in data[:4]  # BigTIFF.
  return int.from_bytes(data[8:16] if big else data[4:8], order) >= len(data)
