"""Data sets in .npz files, whole ones, damaged ones and hostile ones."""

import io
import os
import zipfile

import numpy as np
import pytest

from blt_jax.data import sources
from blt_jax.data.sources import SplitOptions
from blt_jax.data.sources.npz import read_npz


def _images(count, size=4, seed=0):
  shape = (count, size, size, 3)
  return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def test_npz_equals_its_arrays(tmp_path):
  path = tmp_path / "shapes.npz"
  np.savez(
    path,
    train_images=_images(4),
    train_labels=np.array([0, 1, 0, 1]),
    test_images=_images(2, seed=1),
    test_labels=np.array([1, 0]),
    class_names=np.array(["round", "square"]),
  )
  dataset = sources.load_npz(
    str(path), options=SplitOptions(validation_per_class=1)
  )
  assert (dataset.name, dataset.class_names) == ("shapes", ("round", "square"))
  np.testing.assert_array_equal(dataset.class_counts, [1, 1])
  np.testing.assert_array_equal(dataset.test.images, _images(2, seed=1))


def test_npz_names_the_missing_array(tmp_path):
  np.savez(tmp_path / "x.npz", train_images=_images(2))
  with pytest.raises(ValueError, match=r"x\.npz: no array 'train_labels'"):
    sources.load_npz(str(tmp_path / "x.npz"))


@pytest.mark.parametrize(
  "content", [None, b"", b"PK\x03\x04 broken", b"text", "npy"]
)
def test_unreadable_npz_is_named(tmp_path, content):
  path = tmp_path / "x.npz"
  if content == "npy":
    with path.open("wb") as file:
      np.save(file, np.zeros(3))
  elif content is not None:
    path.write_bytes(content)
  with pytest.raises(ValueError, match=r"x\.npz: can't be read as an \.npz"):
    sources.load_npz(str(path))


def _header(length):
  """What the file of an array of bytes begins with."""
  file = io.BytesIO()
  np.lib.format.write_array_header_1_0(
    file, {"shape": (length,), "fortran_order": False, "descr": "|u1"}
  )
  return file.getvalue()


def _zipped(data):
  file = io.BytesIO()
  with zipfile.ZipFile(file, "w") as archive:
    archive.writestr("train_images.npy", data)
  return file.getvalue()


@pytest.mark.parametrize(
  "data",
  [
    _zipped(_header(10**9) + bytes(99)),
    _zipped(_header(2**60) + bytes(99)),
    _zipped(_header(99) + bytes(98)),
    _zipped(b"\x93NUMPY\x09\0"),
    _zipped(_header(99) + bytes(99))[:-40],
    _zipped(_header(99) + bytes(99)).replace(bytes(50), bytes(49) + b"x"),
  ],
  ids=["claims 1 GB", "claims 2^60", "short", "version", "cut off", "changed"],
)
def test_archives_that_do_not_hold_what_they_claim_are_refused(tmp_path, data):
  (tmp_path / "a.npz").write_bytes(data)
  with pytest.raises(ValueError, match=r"a\.npz: can't be read .* expected a"):
    read_npz(tmp_path / "a.npz")


def test_npz_with_objects_is_refused(tmp_path):
  class Program:
    def __reduce__(self):
      return os.mkdir, (str(tmp_path / "made"),)

  np.savez(tmp_path / "a.npz", objects=np.array([Program()], object))
  with pytest.raises(ValueError, match=r"a\.npz: .*Object arrays cannot be"):
    read_npz(tmp_path / "a.npz")
  assert not (tmp_path / "made").exists()
