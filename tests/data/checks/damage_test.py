"""JPEG images with damaged pixels: found, named, and not mistaken."""

import builtins
import csv
import io

import numpy as np
import pytest
from PIL import Image

from blt_jax.data import lazy_tensorflow
from blt_jax.data.checks import damage
from blt_jax.data.checks.scan import scan
from blt_jax.data.dataset import Dataset, Split
from blt_jax.data.reading.decode import Decoding
from blt_jax.system.nameless_lines import Listener
from blt_jax.training.check_data import check_data
from configs import image_folder
from tests.command_line import ROOT, run_afresh
from tests.damaged_jpegs import DAMAGED, GOOD, UNREADABLE


def noise(seed):
  """Pixels that look like no others."""
  return np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)


def jpeg(seed):
  file = io.BytesIO()
  Image.fromarray(noise(seed)).save(file, "JPEG")
  return file.getvalue()


@pytest.fixture
def photos(tmp_path):
  """Two classes of eight sound JPEG files in folders, one damaged as well."""
  root = tmp_path / "photos"
  for seed in range(16):
    folder = root / "ab"[seed % 2]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{seed}.jpg").write_bytes(jpeg(seed))
  (root / "a" / "damaged.jpg").write_bytes(DAMAGED["ones"][0])
  return root


def config_of(root):
  config = image_folder.get_config()
  config.dataset.root = str(root)
  return config


class Contents:
  """Records in memory."""

  def __init__(self, contents):
    self.contents = list(contents)

  def __len__(self):
    return len(self.contents)

  def read(self, indices):
    return [self.contents[i] for i in indices]

  def name(self, index):
    return f"record {index}"


def scanned(contents, **options):
  contents = list(contents)
  other = Split(np.zeros(1), noise(99)[None])
  train = Split(np.zeros(len(contents), int), records=Contents(contents))
  with Listener() as listener:
    return scan(
      Dataset("some", ("a",), train, other, other), listener=listener, **options
    )


@pytest.mark.parametrize("threads", [1, 8])
def test_each_kind_of_damage_is_found_with_libjpegs_words(threads, capfd):
  # Neighbours that are sound, refused and no JPEG must not be blamed.
  contents = [
    *GOOD.values(),
    *(data for data, _ in DAMAGED.values()),
    *GOOD.values(),
    *UNREADABLE.values(),
  ] * 8  # Several parts, for several threads.
  found = scanned(contents, num_threads=threads)
  words = [""] * len(GOOD) + [text for _, text in DAMAGED.values()]
  words += [""] * (len(GOOD) + len(UNREADABLE))
  expected = {row: text for row, text in enumerate(words * 8) if text}
  assert found.damage == expected
  assert sorted(found.errors) == [
    row
    for row in range(len(contents))
    if row % len(words) >= len(words) - len(UNREADABLE)
  ]
  assert not found.not_searched
  assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("turned", [False, True])
def test_rows_are_those_without_a_listener(turned):
  exif = Image.Exif()
  exif[0x0112] = 6
  contents = [*GOOD.values(), *(data for data, _ in DAMAGED.values())]
  contents = [*contents, *UNREADABLE.values()]
  for seed in range(3):
    file = io.BytesIO()
    Image.fromarray(noise(seed)[:40]).save(file, "JPEG", exif=exif)
    contents.append(file.getvalue())
  decoding = Decoding(exif_orientation=turned)
  split = Split(np.zeros(len(contents), int), records=Contents(contents))
  dataset = Dataset("some", ("a",), split, split, split)
  alone = scan(dataset, decoding=decoding)
  with Listener() as listener:
    heard = scan(dataset, decoding=decoding, listener=listener)
  np.testing.assert_array_equal(heard.rows, alone.rows)
  assert heard.errors == alone.errors
  assert alone.damage == {}


def test_damaged_pixels_are_a_warning_in_lines_and_table(photos, capsys):
  output = photos.parent / "found.csv"
  assert check_data(config_of(photos), str(output)) == 0
  lines = capsys.readouterr().out.splitlines()
  path = str(photos / "a" / "damaged.jpg")
  title = (
    "warning: JPEG images with damaged pixels, used as far as they can be "
    "decoded: 1"
  )
  named = lines[lines.index(title) + 1]
  words = "Corrupt JPEG data: bad Huffman code"
  assert named.split(maxsplit=1)[1] == f"{path} (a): {words}"
  assert "no errors, 1 warning" in lines
  (deed,) = (line for line in lines if line.startswith("  1. "))
  assert deed.startswith(
    "  1. look at 1 image with damaged pixels: replace or remove those that "
    "show too little (such as "
  )
  with output.open() as file:
    rows = [row for row in csv.DictReader(file) if row["path"] == path]
  (row,) = (row for row in rows if row["severity"] == "warning")
  assert row["finding"] == "damaged pixels"
  assert row["detail"] == words
  assert row["action"].startswith("look at it")


def test_without_tensorflow_it_is_said(photos, capsys, monkeypatch):
  lazy_tensorflow.tensorflow.cache_clear()
  real = builtins.__import__

  def fake(name, *given):
    if name == "tensorflow":
      raise ModuleNotFoundError("No module", name="tensorflow")
    return real(name, *given)

  monkeypatch.setattr(builtins, "__import__", fake)
  assert check_data(config_of(photos)) == 0
  assert (
    "not searched for damaged pixels of JPEG images: TensorFlow is not "
    "installed; expected: pip install tensorflow-cpu"
  ) in capsys.readouterr().out.splitlines()
  lazy_tensorflow.tensorflow.cache_clear()


def test_without_jpegs_tensorflow_is_not_started(monkeypatch):
  def not_needed():
    raise AssertionError

  monkeypatch.setattr(damage, "tensorflow", not_needed)
  file = io.BytesIO()
  Image.fromarray(noise(0)).save(file, "PNG")
  found = scanned([file.getvalue()])
  assert (found.errors, found.not_searched) == ({}, "")


def test_the_program_prints_no_line_without_a_name(photos):
  finished = run_afresh(
    [
      "--mode=check_data",
      "--config=configs/image_folder.py",
      f"--config.dataset.root={photos}",
    ],
    ROOT,
  )
  assert (finished.code, finished.stderr) == (0, "")
  assert "a/damaged.jpg (a): Corrupt JPEG data: bad" in finished.stdout
