"""Both readers decode as they are told, to the same bits."""

import io
import pathlib

import numpy as np
import pytest
from PIL import Image

from blt_jax.data import input_pipeline, sampling
from blt_jax.data.dataset import Split
from blt_jax.data.reading.crops import resize_and_crop
from blt_jax.data.reading.decode import Decoding, decode_rgb
from blt_jax.data.reading.pillow_reader import PillowReader
from blt_jax.data.reading.reader import CentreCrop, Request, Unreadable
from blt_jax.data.reading.tf_reader import TfReader, jpeg_shape


@pytest.fixture(scope="module")
def split(tmp_path_factory):
  """Images that `Decoding` decides about, in every orientation."""
  folder = tmp_path_factory.mktemp("kinds")
  ramp = np.add.outer(np.arange(40), np.arange(56))[..., None] * [1, 2, 2]
  rgb = Image.fromarray(ramp.astype(np.uint8))
  grey = rgb.convert("L")
  alpha = rgb.copy()
  alpha.putalpha(grey)
  deep = np.asarray(grey).astype(np.uint16) * 16
  kinds = {
    "rgb.jpg": rgb,
    "grey.jpg": grey,
    "cmyk.jpg": rgb.convert("CMYK"),
    "alpha.png": alpha,
    "alpha.webp": alpha,
    "deep.png": Image.fromarray(deep),
  }
  paths = [str(folder / "deep.tiff")]
  Image.fromarray(deep.astype(np.float32)).save(paths[0])
  for orientation in range(1, 9):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name, image in kinds.items():
      paths.append(str(folder / f"{orientation}-{name}"))
      image.save(paths[-1], exif=exif)
  return Split(np.zeros(len(paths), int), paths=paths)


def _decoding(*, turned):
  return Decoding(
    background=(9, 200, 90), exif_orientation=turned, grey_range=(0, 4095)
  )


def _evaluated(split, reader, decoding, **options):
  (batch,) = input_pipeline.eval_batches(
    split,
    batch_size=len(split),
    image_size=24,
    resize_size=28,
    decoding=decoding,
    reader=reader,
    num_threads=2,
    **options,
  )
  return batch.image


@pytest.mark.parametrize(
  "turned, interpolation",
  [(False, "bilinear"), (True, "bilinear"), (True, "bicubic")],
)
def test_random_crops_are_the_same(split, turned, interpolation):
  plan = sampling.epoch_plan(
    split.labels, seed=0, stage=1, epoch=0, batch_size=len(split)
  )
  one, two = (
    next(
      input_pipeline.train_batches(
        split,
        plan,
        image_size=24,
        decoding=_decoding(turned=turned),
        interpolation=interpolation,
        reader=reader,
        num_threads=2,
      )
    ).image
    for reader in (TfReader, PillowReader)
  )
  np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("reader", [TfReader, PillowReader])
@pytest.mark.parametrize(
  "turned, interpolation",
  [(False, "bilinear"), (True, "bilinear"), (True, "bicubic")],
)
def test_centre_crops_are_those_of_the_decoded_image(
  split, turned, interpolation, reader
):
  decoding = _decoding(turned=turned)
  images = _evaluated(split, reader, decoding, interpolation=interpolation)
  for path, image in zip(split.paths, images, strict=True):
    whole = decode_rgb(pathlib.Path(path).read_bytes(), decoding)
    expected = resize_and_crop(
      whole, image_size=24, resize_size=28, interpolation=interpolation
    )
    np.testing.assert_array_equal(image, expected, path)


def test_orientation_makes_a_difference(split):
  stored, turned = (
    _evaluated(split, TfReader, _decoding(turned=turned))
    for turned in (False, True)
  )
  same = [np.array_equal(*pair) for pair in zip(stored, turned, strict=True)]
  # A TIFF, and the first of eight orientations of six kinds.
  assert same == [True] + [True] * 6 + [False] * 42


def _jpeg(*, size=(30, 20), mode="RGB", **options):
  file = io.BytesIO()
  Image.new(mode, size, 7).save(file, "JPEG", **options)
  return file.getvalue()


def _damaged_headers():
  good = _jpeg()
  yield b"\xff\xd8\xff" + b"this only begins like a JPEG" * 10
  yield from (good[:end] for end in (3, 4, 21, 30, 160, 170, 400))
  for old, new in ((b"\xff\xdb", b"\xff\x05"), (b"\xff\xc0", b"\xff\xc3")):
    yield good.replace(old, new)


def test_libjpeg_prints_nothing_about_damaged_headers(capfd):
  reader = TfReader(CentreCrop(16, 16), Decoding(), encoded=True, num_threads=1)
  requests = [Request(data) for data in _damaged_headers()]
  read = [reader.read_one(request) for request in requests]
  read += reader.read(requests)
  assert len(read) == 20
  assert all(isinstance(image, Unreadable) for image in read)
  printed = capfd.readouterr()
  assert "JPEG" not in printed.out + printed.err
  assert "marker" not in printed.out + printed.err


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"exif": True}])
def test_the_shape_in_a_header_is_that_of_the_image(options):
  if "exif" in options:
    options = {"exif": Image.Exif(), "comment": b"\xff\xc0" * 9}
    options["exif"][0x0112] = 3
  for mode, components in (("L", 1), ("RGB", 3), ("CMYK", 4)):
    data = _jpeg(size=(300, 20), mode=mode, **options)
    assert jpeg_shape(data) == (20, 300, components)
  assert jpeg_shape(b"\x89PNG") == jpeg_shape(b"") == (0, 0, 0)
