import pathlib

import jax
import numpy as np
import pytest
from PIL import Image

from blt_jax.config import check_config, follow
from blt_jax.data.dataset import Split
from blt_jax.data.reading import cache
from blt_jax.data.reading.decode import Decoding
from blt_jax.training import build
from blt_jax.training.feeder import Feeder
from blt_jax.training.stages import build_stages, plan_epoch
from configs import image_list


def _write(folder, sizes, kind="png"):
  """Images of random pixels: a Split of files, and the pixels."""
  rng = np.random.default_rng(0)
  paths, pixels = [], []
  for number, (height, width) in enumerate(sizes):
    pixels.append(rng.integers(0, 256, (height, width, 3), np.uint8))
    paths.append(str(folder / f"{number}.{kind}"))
    Image.fromarray(pixels[-1]).save(paths[-1])
  return Split(np.arange(len(paths)) % 2, paths=paths), pixels


class _Records:
  """Encoded images in memory."""

  def __init__(self, contents):
    self.contents = contents

  def __len__(self):
    return len(self.contents)

  def read(self, indices):
    return [self.contents[i] for i in indices]

  def name(self, index):
    return f"record {index}"


def test_small_images_of_one_size_are_decoded(tmp_path):
  split, pixels = _write(tmp_path, [(8, 12)] * 300)
  kept = cache.in_memory(split)
  np.testing.assert_array_equal(kept.images, pixels)
  np.testing.assert_array_equal(kept.labels, split.labels)


def test_records_are_decoded_as_well(tmp_path):
  split, pixels = _write(tmp_path, [(8, 8)] * 3)
  contents = [pathlib.Path(path).read_bytes() for path in split.paths]
  kept = cache.in_memory(Split([0, 1, 0], records=_Records(contents)))
  np.testing.assert_array_equal(kept.images, pixels)


@pytest.mark.parametrize(
  "sizes", [[(97, 97)], [(8, 8), (8, 9)], [(8, 8)] * 257 + [(9, 8)]]
)
def test_large_images_and_those_of_several_sizes_stay_files(tmp_path, sizes):
  split, _ = _write(tmp_path, sizes)
  assert cache.in_memory(split) is split


def test_what_does_not_fit_stays_in_files(tmp_path, monkeypatch):
  split, _ = _write(tmp_path, [(8, 8)] * 3)
  monkeypatch.setattr(cache, "MOST_BYTES", 3 * 8 * 8 * 3 - 1)
  assert cache.in_memory(split) is split
  monkeypatch.undo()
  assert cache.in_memory(split, Decoding(max_pixels=63)) is split


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_with_an_image_that_cannot_be_read_all_stay_files(tmp_path, damage):
  split, _ = _write(tmp_path, [(8, 8)] * 3)
  if damage == "cut":
    with open(split.paths[1], "r+b") as file:
      file.truncate(60)
  else:
    (tmp_path / "1.png").unlink()
  assert cache.in_memory(split) is split


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_batches_are_the_same_from_files_and_from_memory(
  tmp_path, monkeypatch, kind
):
  _write(tmp_path, [(32, 32)] * 72, kind)
  lists = []
  for name, numbers in (("train", range(64)), ("test", range(64, 72))):
    lines = [f"{i}.{kind} {i % 2}" for i in numbers]
    (tmp_path / f"{name}.txt").write_text("\n".join(lines))
    lists.append(f"{name}.txt")
  config = image_list.get_config("batch=16")
  config.dataset.update(
    root=str(tmp_path), train_list=lists[0], test_list=lists[1], image_size=24
  )
  config.dataset.validation_per_class = 4
  config = follow(check_config(config))
  dataset = build.build_dataset(config)
  stage = build_stages(config, dataset.class_counts, devices=1)[1]
  assert cache.in_memory(dataset.train).images is not None
  feeder = Feeder(config, dataset, devices=1)
  plan = plan_epoch(config, stage, 2, labels=dataset.train.labels)
  kept = list(feeder.training(plan))
  monkeypatch.setattr(cache, "MOST_BYTES", 0)
  assert cache.in_memory(dataset.train) is dataset.train
  read = list(Feeder(config, dataset, devices=1).training(plan))
  jax.tree.map(np.testing.assert_array_equal, kept, read)


@pytest.mark.parametrize("nbytes, reads", [(cache.MOST_BYTES, 1), (2**40, 2)])
def test_batches_that_fit_into_memory_are_read_once(nbytes, reads):
  started = []

  def read():
    started.append(None)
    yield from (object(), object())

  batches = cache.Replayed(read, nbytes=nbytes)
  once, again = list(batches), list(batches)
  assert len(started) == reads
  assert (once == again) == (reads == 1)


def test_batches_are_only_kept_when_all_were_read():
  batches = cache.Replayed(lambda: iter(range(5)), nbytes=1)
  assert next(iter(batches)) == 0
  assert list(batches) == [0, 1, 2, 3, 4]
