"""Files of every kind become the RGB that their users expect."""

import io
import logging
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from blt_jax.data.reading import decode
from blt_jax.data.reading.decode import Decoding
from blt_jax.data.sources import image_files
from tests.bad_files import png_bomb

# 0..34, as a ramp.
RAMP = np.add.outer(np.arange(16), np.arange(20))
RED = (255, 0, 0)


def encoded(image, kind="PNG", **options):
  file = io.BytesIO()
  image.save(file, kind, **options)
  return file.getvalue()


def png(bits, colour, pixels, *, clear=b""):
  """A PNG of a kind that Pillow does not write."""

  def chunk(name, content):
    body = name + content
    checked = struct.pack(">I", zlib.crc32(body))
    return struct.pack(">I", len(content)) + body + checked

  height, width = pixels.shape[:2]
  head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
  kind = ">u2" if bits == 16 else "u1"
  rows = b"".join(b"\0" + row.astype(kind).tobytes() for row in pixels)
  return b"".join(
    (
      b"\x89PNG\r\n\x1a\n",
      chunk(b"IHDR", head),
      chunk(b"tRNS", clear) if clear else b"",
      chunk(b"IDAT", zlib.compress(rows)),
      chunk(b"IEND", b""),
    )
  )


def tiff(pixels, *, kind, end="<", white_is_0=False, alpha=0):
  """An uncompressed TIFF; `kind` is 1 unsigned, 2 signed, 3 floats."""
  height, width, channels = (*pixels.shape, 1)[:3]
  content = pixels.astype(pixels.dtype.newbyteorder(end)).tobytes()
  photometric = 2 if channels > 2 else int(not white_is_0)
  tags = {
    256: (4, [width]),
    257: (4, [height]),
    258: (3, [8 * pixels.dtype.itemsize] * channels),
    259: (3, [1]),
    262: (3, [photometric]),
    273: (4, [8]),
    277: (3, [channels]),
    278: (4, [height]),
    279: (4, [len(content)]),
    339: (3, [kind] * channels),
    **({338: (3, [alpha])} if alpha else {}),
  }
  start = 8 + len(content)
  after = start + 2 + 12 * len(tags) + 4
  entries, outside = b"", b""
  for tag, (size, values) in sorted(tags.items()):
    packed = struct.pack(
      f"{end}{len(values)}{'H' if size == 3 else 'I'}", *values
    )
    if len(packed) > 4:
      place, outside = len(outside), outside + packed
      packed = struct.pack(f"{end}I", after + place)
    entries += struct.pack(f"{end}HHI", tag, size, len(values))
    entries += packed.ljust(4, b"\0")
  mark = b"II*\0" if end == "<" else b"MM\0*"
  directory = struct.pack(f"{end}H", len(tags)) + entries + bytes(4)
  return mark + struct.pack(f"{end}I", start) + content + directory + outside


def grey_of(data, low, high):
  """The grey of an image, after a check that it is grey."""
  rgb = decode.decode_rgb(data, Decoding(grey_range=(low, high)))
  assert rgb.dtype == np.uint8
  np.testing.assert_array_equal(rgb[..., :1].repeat(3, axis=-1), rgb)
  return rgb[..., 0]


def deep(kind):
  """RAMP in a file of more than 8 bits, from -1000 to 2400 or 0 to 3400."""
  signed, unsigned = RAMP * 100 - 1000, RAMP * 100
  return {
    "png": lambda: encoded(Image.fromarray(unsigned.astype(np.uint16))),
    "jpeg2000": lambda: encoded(
      Image.fromarray(unsigned.astype(np.uint16)), "JPEG2000"
    ),
    "lzw": lambda: encoded(
      Image.fromarray(unsigned.astype(np.uint16)),
      "TIFF",
      compression="tiff_lzw",
    ),
    "uint16": lambda: tiff(unsigned.astype(np.uint16), kind=1),
    "uint16 big": lambda: tiff(unsigned.astype(np.uint16), kind=1, end=">"),
    "uint32": lambda: tiff(unsigned.astype(np.uint32), kind=1),
    "int16": lambda: tiff(signed.astype(np.int16), kind=2),
    "int16 big": lambda: tiff(signed.astype(np.int16), kind=2, end=">"),
    "int32": lambda: tiff(signed.astype(np.int32), kind=2),
    "float": lambda: tiff(signed.astype(np.float32), kind=3),
    "float big": lambda: tiff(signed.astype(np.float32), kind=3, end=">"),
  }[kind]()


@pytest.mark.parametrize(
  "kind", ["png", "jpeg2000", "lzw", "uint16", "uint16 big", "uint32"]
)
def test_deep_grey_is_scaled(kind):
  expected = np.rint(RAMP * 100 * 255 / 4095)
  np.testing.assert_array_equal(grey_of(deep(kind), 0, 4095), expected)
  np.testing.assert_array_equal(
    grey_of(deep(kind), 500, 600), np.where(RAMP > 5, 255, 0)
  )


@pytest.mark.parametrize(
  "kind", ["int16", "int16 big", "int32", "float", "float big"]
)
def test_negative_values_are_scaled(kind):
  expected = np.rint(RAMP * 100 * 255 / 3400)
  np.testing.assert_array_equal(grey_of(deep(kind), -1000, 2400), expected)


def test_signed_bytes_are_no_bright_pixels():
  data = tiff((RAMP - 10).astype(np.int8), kind=2)
  np.testing.assert_array_equal(
    grey_of(data, -10, 24), np.rint(RAMP * 255 / 34)
  )


def test_a_range_of_8_bits_keeps_8_bits_in_files_of_16():
  data = encoded(Image.fromarray((RAMP * 7).astype(np.uint16)))
  np.testing.assert_array_equal(grey_of(data, 0, 255), RAMP * 7)


def test_values_that_are_no_numbers_have_a_place():
  values = np.array([[np.nan, np.inf, -np.inf, 0.5]], np.float32)
  grey = grey_of(tiff(values, kind=3), 0, 1)
  np.testing.assert_array_equal(grey, [[0, 255, 0, 128]])
  inverted = tiff(values, kind=3, white_is_0=True)
  np.testing.assert_array_equal(grey_of(inverted, 0, 1), [[0, 0, 255, 127]])


def test_white_is_zero_is_inverted_as_in_8_bits():
  eight = tiff(RAMP.astype(np.uint8), kind=1, white_is_0=True)
  sixteen = tiff((RAMP * 257).astype(np.uint16), kind=1, white_is_0=True)
  expected = 255 - RAMP
  np.testing.assert_array_equal(decode.decode_rgb(eight)[..., 0], expected)
  np.testing.assert_array_equal(grey_of(sixteen, 0, 65535), expected)


def test_deep_grey_without_a_range_is_refused():
  with pytest.raises(
    decode.ImageError,
    match=r"^grey of more than 8 bits \(I;16\), and none of the training .*"
    "expected 8 bits, or config.dataset.grey_range in training$",
  ):
    decode.decode_rgb(deep("png"))


def test_8_bits_do_not_depend_on_the_range():
  data = encoded(Image.fromarray(RAMP.astype(np.uint8)))
  np.testing.assert_array_equal(grey_of(data, 1000, 2000), RAMP)


ALPHA = (RAMP * 7).astype(np.uint8)
BYTE = RAMP.astype(np.uint8)


def transparent(kind):
  """(a file, its colour [h, w], its alpha [h, w])."""
  key = np.where(RAMP == 3, 0, 255)
  palette = Image.fromarray(BYTE % 8).convert("P")
  rgba = np.stack([BYTE, BYTE, BYTE, ALPHA], -1)
  two = np.stack([BYTE, ALPHA], -1)
  steps = np.arange(8) * 32
  return {
    "RGBA": lambda: (encoded(Image.fromarray(rgba)), BYTE, ALPHA),
    "LA": lambda: (encoded(Image.fromarray(two, "LA")), BYTE, ALPHA),
    "WebP": lambda: (
      encoded(Image.fromarray(rgba), "WEBP", lossless=True, exact=True),
      BYTE,
      ALPHA,
    ),
    "TIFF": lambda: (tiff(rgba, kind=1, alpha=2), BYTE, ALPHA),
    "TIFF LA": lambda: (tiff(two, kind=1, alpha=2), BYTE, ALPHA),
    "grey key": lambda: (png(8, 0, RAMP, clear=b"\0\3"), BYTE, key),
    "colour key": lambda: (
      png(8, 2, np.stack([RAMP] * 3, -1), clear=b"\0\3" * 3),
      BYTE,
      key,
    ),
    "colour key of 16 bits": lambda: (
      png(16, 2, np.stack([RAMP * 256] * 3, -1), clear=b"\3\0" * 3),
      BYTE,
      key,
    ),
    "grey key of 16 bits": lambda: (
      png(16, 0, RAMP * 257, clear=b"\3\3"),
      BYTE,
      key,
    ),
    "palette": lambda: (
      encoded(palette, transparency=bytes(steps.tolist())),
      BYTE % 8,
      steps[RAMP % 8],
    ),
    "palette key": lambda: (
      encoded(palette, transparency=3),
      BYTE % 8,
      np.where(RAMP % 8 == 3, 0, 255),
    ),
    "GIF": lambda: (
      encoded(palette, "GIF", transparency=3),
      BYTE % 8,
      np.where(RAMP % 8 == 3, 0, 255),
    ),
  }[kind]()


@pytest.mark.parametrize(
  "kind",
  [
    "RGBA",
    "LA",
    "WebP",
    "TIFF",
    "TIFF LA",
    "grey key",
    "colour key",
    "colour key of 16 bits",
    "grey key of 16 bits",
    "palette",
    "palette key",
    "GIF",
  ],
)
def test_what_is_transparent_lies_over_the_background(kind):
  data, colour, alpha = transparent(kind)
  decoding = Decoding(background=RED, grey_range=(0, 65535))
  share = alpha[..., None] / 255
  expected = colour[..., None] * share + np.array(RED) * (1 - share)
  found = decode.decode_rgb(data, decoding)
  assert np.abs(found - expected).max() <= 0.5 + 1e-9
  assert decode.read_header(data).transparent
  assert decode.has_clear_pixels(data) == ("grey key of 16" not in kind)


@pytest.mark.parametrize("alpha", [1, 2])
def test_premultiplied_colours_are_not_darkened_twice(alpha):
  rgba = np.full((4, 4, 4), 128, np.uint8)
  rgb = decode.decode_rgb(tiff(rgba, kind=1, alpha=alpha))
  assert abs(int(rgb[0, 0, 0]) - {1: 255, 2: 191}[alpha]) <= 1


def test_premultiplied_grey_is_read():
  two = np.full((4, 4, 2), 128, np.uint8)
  assert decode.decode_rgb(tiff(two, kind=1, alpha=1)).min() >= 254


def test_an_opaque_alpha_channel_keeps_every_bit():
  pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
  rgba = np.dstack([pixels, np.full((40, 40), 255, np.uint8)])
  data = encoded(Image.fromarray(rgba))
  np.testing.assert_array_equal(decode.decode_rgb(data), pixels)
  assert not decode.has_clear_pixels(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(10))
def test_images_are_turned_as_pillow_turns_them(kind, orientation):
  exif = Image.Exif()
  exif[0x0112] = orientation
  data = encoded(Image.fromarray(np.stack([BYTE] * 3, -1)), kind, exif=exif)
  with Image.open(io.BytesIO(data)) as opened:
    upright = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    stored = np.asarray(opened.convert("RGB"))
  found = decode.decode_rgb(data, Decoding(exif_orientation=True))
  np.testing.assert_array_equal(found, upright)
  np.testing.assert_array_equal(decode.decode_rgb(data), stored)
  assert decode.is_turned(data) == (
    2 <= orientation <= 8 and kind != "TIFF"  # Pillow always turns a TIFF.
  )


def test_deep_and_transparent_images_are_turned():
  exif = Image.Exif()
  exif[0x0112] = 6
  decoding = Decoding(exif_orientation=True, grey_range=(0, 255))
  for image in (
    Image.fromarray(RAMP.astype(np.uint16)),
    Image.fromarray(np.stack([BYTE, BYTE * 0 + 255], -1), "LA"),
  ):
    rgb = decode.decode_rgb(encoded(image, exif=exif), decoding)
    np.testing.assert_array_equal(rgb[..., 0], np.rot90(RAMP, -1))


def test_damaged_exif_data_leave_the_image_as_it_is():
  data = encoded(Image.fromarray(BYTE), "JPEG", exif=b"Exif\0\0nonsense")
  stored = decode.decode_rgb(data)
  decoding = Decoding(exif_orientation=True)
  np.testing.assert_array_equal(decode.decode_rgb(data, decoding), stored)
  assert not decode.is_turned(data)


@pytest.mark.parametrize(
  "data, reason",
  [
    (b"", "an empty file"),
    (bytes(500), "500 bytes that are all 0; expected an image"),
    (
      b"\0\0\0\x18ftypheic\0\0\0\0",
      "HEIC; expected another format, or `pip install pillow-heif`",
    ),
    (b"\n<!DOCTYPE html><html>", "a web page; expected an image"),
    (b"<?xml version='1.0'?><svg/>", "SVG, a drawing without pixels; .*"),
    (b"version https://git-lfs.github.com/spec/v1", "a pointer of Git LFS; .*"),
    (b"%PDF-1.7", "PDF; expected an image"),
    (b"\xff\x0a\xfa", "JPEG XL; expected another format"),
    (bytes(128) + b"DICM", "DICOM; expected another format"),
    (
      tiff(RAMP.astype(np.float64), kind=3),
      "TIFF of a kind that Pillow can't read; expected grey, .* floats of 32",
    ),
    (b"no image", "not an image that can be read"),
  ],
)
def test_a_file_that_is_no_image_is_called_what_it_is(data, reason):
  with pytest.raises(decode.ImageError, match=f"^{reason}$"):
    decode.decode_rgb(data)


def test_heic_of_a_telephone_is_read_upright(tmp_path):
  pillow_heif = pytest.importorskip("pillow_heif")
  stored = np.zeros((64, 96, 3), np.uint8)
  stored[:, :48] = 200, 40, 40  # Red at the left, which is at the top.
  exif = Image.Exif()
  exif[274] = 6
  path = tmp_path / "cats" / "1.heic"
  path.parent.mkdir()
  file = pillow_heif.from_pillow(Image.fromarray(stored))
  file.save(path, quality=95, exif=exif.tobytes())
  decoded = decode.decode_rgb(path.read_bytes())
  assert decoded.shape == (96, 64, 3)
  assert np.abs(decoded[8:40] - np.array([200, 40, 40])).max() < 12
  assert decoded[56:88].max() < 12
  assert image_files.find_images(tmp_path).paths == ["cats/1.heic"]


@pytest.mark.parametrize(
  "kind, kept, reason",
  [
    ("JPEG", 150, "Truncated File Read"),
    ("JPEG", 20, "the header of this JPEG is cut or wrong"),
    ("GIF", 200, "the header of this GIF is cut or wrong"),
  ],
)
def test_of_half_a_file_the_reason_is_pillows(kind, kept, reason):
  data = encoded(Image.fromarray(BYTE * 7), kind)
  assert len(data) > kept
  with pytest.raises(decode.ImageError, match=f"^damaged: {reason}$"):
    decode.decode_rgb(data[:kept])


def test_a_tiff_without_its_end_is_damaged():
  data = bytearray(tiff(RAMP.astype(np.uint8), kind=1))
  data[4:8] = len(data).to_bytes(4, "little")  # Where libtiff writes a header.
  reason = "^damaged: the end of this TIFF is missing$"
  with pytest.raises(decode.ImageError, match=reason):
    decode.decode_rgb(bytes(data))


def test_too_many_pixels_are_said_without_pillows_alarm():
  reason = "^196000000 pixels; expected 178956970 or fewer$"
  with pytest.raises(decode.ImageError, match=reason):
    decode.decode_rgb(png_bomb(14_000))


def test_pillows_remarks_are_not_shown(capfd, caplog):
  palette = Image.fromarray(BYTE % 8).convert("P")
  odd = encoded(palette, transparency=bytes(range(8)))
  exif = encoded(Image.fromarray(BYTE), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0")
  cut = deep("lzw")[:-30]
  with warnings.catch_warnings(record=True) as caught, caplog.at_level(0):
    warnings.simplefilter("always")
    for data in (odd, exif, cut):
      try:
        decode.decode_rgb(data, Decoding(grey_range=(0, 1)))
        decode.is_turned(data)
      except decode.ImageError:
        pass
  assert not caught
  assert [r for r in caplog.records if r.levelno >= logging.INFO] == []
  assert capfd.readouterr() == ("", "")
