"""Damaged images: what stands in for them, and when a run stops."""

import io
import logging

import numpy as np
import pytest
from PIL import Image

from blt_jax.data import input_pipeline, sampling
from blt_jax.data.dataset import Split
from blt_jax.data.reading.decode import Decoding
from blt_jax.data.reading.substitutes import Substitutes
from blt_jax.data.reading.tf_reader import TfReader

NUM_IMAGES = 12
LABELS = np.arange(NUM_IMAGES) % 3
WHOLE = {"crop_scale": (1.0, 1.0), "source_crop_scale": (1.0, 1.0)}


pytestmark = pytest.mark.usefixtures("reader")


def _encoded(seed, *, size=48):
  pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3))
  data = io.BytesIO()
  Image.fromarray(pixels.astype(np.uint8)).save(data, "JPEG")
  return data.getvalue()


class _Records:
  """Encoded images in memory that remember what was read."""

  def __init__(self, contents):
    self.contents, self.reads = contents, []

  def __len__(self):
    return len(self.contents)

  def read(self, indices):
    self.reads += indices.tolist()
    return [self.contents[i] for i in indices]

  def name(self, index):
    return f"record {index}"


@pytest.fixture
def paths(tmp_path):
  paths = [tmp_path / f"{i}.jpg" for i in range(NUM_IMAGES)]
  for i, path in enumerate(paths):
    path.write_bytes(_encoded(i))
  return paths


def _split(paths):
  return Split(LABELS, paths=[str(path) for path in paths])


def _plan(batch_size=6, epoch=0):
  return sampling.epoch_plan(
    LABELS, seed=0, stage=1, epoch=epoch, batch_size=batch_size
  )


def _train(split, plan, *, substitutes=None, threads=2, **options):
  return list(
    input_pipeline.train_batches(
      split,
      plan,
      image_size=16,
      substitutes=substitutes or Substitutes(split, name="training"),
      num_threads=threads,
      **options,
    )
  )


def _replaced(batches):
  return sum(batch.replaced for batch in batches)


def _assert_same(one, two):
  assert len(one) == len(two)
  for a, b in zip(one, two, strict=True):
    np.testing.assert_array_equal(a.image, b.image)
    np.testing.assert_array_equal(a.label, b.label)


def test_the_next_image_of_the_class_stands_in(paths):
  paths[4].write_bytes(b"no image")
  repaired = [paths[7] if i == 4 else path for i, path in enumerate(paths)]
  batches = _train(_split(paths), _plan())
  _assert_same(batches, _train(_split(repaired), _plan()))
  assert _replaced(batches) == 1


def test_the_second_next_image_stands_in_if_the_next_is_damaged(paths):
  # The order in which 4 and 7 are found damaged must not matter.
  for broken in (4, 7):
    paths[broken].write_bytes(b"")
  repaired = [paths[10] if i in (4, 7) else p for i, p in enumerate(paths)]
  split = _split(paths)
  substitutes = Substitutes(split, name="training", max_unreadable=6)
  for epoch in range(2):
    plan = _plan(batch_size=4, epoch=epoch)
    batches = _train(split, plan, substitutes=substitutes)
    _assert_same(batches, _train(_split(repaired), plan))
    assert _replaced(batches) == 2


def test_last_image_of_a_class_is_followed_by_its_first(paths):
  paths[11].unlink()
  repaired = [*paths[:11], paths[2]]
  _assert_same(
    _train(_split(paths), _plan()), _train(_split(repaired), _plan())
  )


def test_resumed_epoch_gives_the_same_without_knowing_the_damage(paths, reader):
  # Crops above the damage of a truncated file can be read, the others can't.
  data = _encoded(4, size=200)
  paths[4].write_bytes(data[: len(data) * 4 // 5])
  plan = sampling.EpochPlan.of_images(
    np.full((4, 10), 4), seed=0, stage=1, epoch=0
  )
  split, options = _split(paths), {"crop_scale": (0.08, 0.3)}
  substitutes = Substitutes(split, name="training")
  whole = _train(split, plan, substitutes=substitutes, **options)
  if reader is TfReader:  # Pillow decodes all of an image or nothing.
    assert 0 < _replaced(whole) < 40
  again = _train(split, plan, substitutes=substitutes, **options)
  _assert_same(whole, again)
  _assert_same(whole[2:], _train(split, plan.tail(2), **options))


def test_threads_and_shards_change_nothing(paths):
  paths[0].write_bytes(b"no image")
  split = _split(paths)
  whole = _train(split, _plan(), threads=1)
  _assert_same(whole, _train(split, _plan(), threads=3))
  shards = [_train(split, _plan().shard(i, 2)) for i in range(2)]
  for batch, *parts in zip(whole, *shards, strict=True):
    joined = np.concatenate([part.image for part in parts])
    np.testing.assert_array_equal(batch.image, joined)


def test_each_damaged_file_is_warned_of_once(paths, caplog):
  paths[4].write_bytes(b"no image")
  split = _split(paths)
  substitutes = Substitutes(split, name="training")
  with caplog.at_level(logging.WARNING):
    for epoch in range(2):
      _train(split, _plan(epoch=epoch), substitutes=substitutes)
  assert [record.getMessage() for record in caplog.records] == [
    f"{paths[4]}: can't be read (not an image that can be read); another one "
    "stands in"
  ]


def test_too_much_damage_stops(paths):
  for broken in (4, 7):
    paths[broken].write_bytes(b"")
  split = _split(paths)
  substitutes = Substitutes(split, name="training", max_unreadable=1)
  message = (
    r"2 of 12 training images; expected at most 1 "
    r"\(config\.dataset\.max_unreadable\)\. --mode=check_data finds"
  )
  with pytest.raises(ValueError, match=message):
    _train(split, _plan(), substitutes=substitutes)


@pytest.mark.parametrize("images, most", [(5, 10), (1000, 10), (2500, 25)])
def test_ten_images_or_one_in_a_hundred_may_be_damaged(images, most):
  split = Split(np.zeros(images, int), paths=["x.jpg"] * images)
  substitutes = Substitutes(split, name="test")
  for row in range(min(most, images)):
    substitutes.note(row, "damaged")
  if images > most:
    with pytest.raises(ValueError, match=f"expected at most {most} "):
      substitutes.note(most, "damaged")


def test_stop_stops_at_the_first(paths):
  paths[4].unlink()
  split = _split(paths)
  substitutes = Substitutes(split, name="training", on_error="stop")
  message = r"4\.jpg: can't be read \(No such file or directory\)\.$"
  with pytest.raises(ValueError, match=message):
    _train(split, _plan(), substitutes=substitutes)


def test_class_without_a_readable_image_stops(paths):
  for broken in (1, 4, 7, 10):
    paths[broken].write_bytes(b"")
  split = _split(paths)
  substitutes = Substitutes(split, name="training", max_unreadable=11)
  with pytest.raises(ValueError, match="none of class 1 can be read"):
    _train(split, _plan(), substitutes=substitutes)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_only_the_damaged_one_of_a_batch_is_blamed(paths, kind):
  for i, path in enumerate(paths):
    with Image.open(io.BytesIO(_encoded(i))) as image:
      image.save(path, kind)
  paths[4].write_bytes(b"no image")
  batches = _train(_split(paths), _plan(batch_size=12))
  assert _replaced(batches) == 1


def test_unknown_reaction_is_refused(paths):
  with pytest.raises(
    ValueError, match="on_error is 'skip'; expected replace or stop"
  ):
    Substitutes(_split(paths), name="training", on_error="skip")


def test_evaluation_leaves_damaged_images_out(paths, caplog):
  paths[5].write_bytes(b"no image")
  split = _split(paths)
  batches = list(
    input_pipeline.eval_batches(
      split,
      batch_size=8,
      image_size=16,
      resize_size=16,
      substitutes=Substitutes(split, name="test"),
      num_threads=2,
    )
  )
  mask = np.concatenate([batch.mask for batch in batches])
  np.testing.assert_array_equal(np.flatnonzero(~mask), [5, 12, 13, 14, 15])
  assert caplog.messages == [
    f"{paths[5]}: can't be read (not an image that can be read); not evaluated"
  ]


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_too_many_pixels_count_as_damage(paths, kind):
  large = io.BytesIO()
  Image.new("RGB", (60, 60)).save(large, kind)
  paths[4].write_bytes(large.getvalue())
  split = _split(paths)
  substitutes = Substitutes(split, name="training", on_error="stop")
  message = r"3600 pixels; expected 2304 or fewer"
  with pytest.raises(ValueError, match=message):
    _train(
      split,
      _plan(),
      substitutes=substitutes,
      decoding=Decoding(max_pixels=2304),
    )


def test_names_that_are_not_utf_8_are_read_and_replaced(paths, caplog):
  expected = _train(_split(paths), _plan())
  renamed = [path.with_name(f"\udce9{path.name}") for path in paths]
  for path, new in zip(paths, renamed, strict=True):
    path.rename(new)
  _assert_same(_train(_split(renamed), _plan()), expected)
  renamed[0].write_bytes(b"no image")
  _train(_split(renamed), _plan())
  assert "\\xe90.jpg: can't be read" in caplog.text


def test_records_give_what_files_give(paths):
  records = _Records([path.read_bytes() for path in paths])
  split = Split(LABELS, records=records)
  _assert_same(_train(split, _plan()), _train(_split(paths), _plan()))


def test_only_what_a_plan_names_is_read(paths):
  records = _Records([path.read_bytes() for path in paths])
  plan = _plan(batch_size=3).tail(2)
  _train(Split(LABELS, records=records), plan)
  assert sorted(records.reads) == sorted(plan.indices.ravel().tolist())


def test_damaged_record_is_named_and_replaced(paths, caplog):
  contents = [path.read_bytes() for path in paths]
  contents[4] = contents[4][:200]
  split = Split(LABELS, records=_Records(contents))
  repaired = [paths[7] if i == 4 else path for i, path in enumerate(paths)]
  batches = _train(split, _plan(), **WHOLE)
  _assert_same(batches, _train(_split(repaired), _plan(), **WHOLE))
  assert "record 4: can't be read" in caplog.text


def test_a_file_that_was_missing_for_a_moment_is_no_damage(
  paths, monkeypatch, caplog
):
  """As on a network share: what can be read again is what is trained on."""
  expected = _train(_split(paths), _plan())
  hidden = paths[4].rename(paths[4].with_suffix(".away"))

  def read_one(self, request, really=TfReader.read_one):
    if hidden.exists():
      hidden.rename(paths[4])
    return really(self, request)

  monkeypatch.setattr(TfReader, "read_one", read_one)
  batches = _train(_split(paths), _plan(), reader=TfReader)
  _assert_same(batches, expected)
  assert _replaced(batches) == 0
  assert not caplog.records


def test_an_error_of_the_records_themselves_is_raised(paths):
  class Broken(_Records):
    def read(self, indices):
      if len(self.reads) >= 6:
        raise OSError("the archive is gone")
      return super().read(indices)

  records = Broken([path.read_bytes() for path in paths])
  batches = input_pipeline.train_batches(
    Split(LABELS, records=records), _plan(), image_size=16
  )
  with pytest.raises(OSError, match="the archive is gone"):
    list(batches)
