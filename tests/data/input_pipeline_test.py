"""Pixels: crops, decoding, batches of arrays and of files, prefetching."""

import pathlib
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from blt_jax.data import device_resize, input_pipeline, sampling
from blt_jax.data.dataset import Split
from blt_jax.data.reading.pillow_reader import PillowReader
from blt_jax.data.reading.tf_reader import TfReader
from tests.crop_windows import crop_windows

SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
NUM_IMAGES = 30
LABELS = np.arange(NUM_IMAGES) % 3


def _smooth_images(count, height, width):
  """Natural enough: neighbouring pixels are alike, edges are not sharp."""
  coarse = np.random.default_rng(0).integers(0, 256, (count, 6, 6, 3))
  return np.stack(
    [
      np.asarray(
        Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
      )
      for image in coarse.astype(np.uint8)
    ]
  )


def _pillow_crop(image, window, size, *, weights=Image.Resampling.BILINEAR):
  y, x, h, w = window.tolist()
  cut = Image.fromarray(np.asarray(image)[y : y + h, x : x + w])
  # Since version 13 Pillow may begin with the columns, unless told not to.
  rows = cut.resize((size, h), weights)
  return np.asarray(rows.resize((size, size), weights))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
  """The arrays' images as JPEG files, and a split of them."""
  folder = tmp_path_factory.mktemp("files")
  paths = [str(folder / f"ähre {i}.jpg") for i in range(NUM_IMAGES)]
  for path, image in zip(
    paths, _smooth_images(NUM_IMAGES, 40, 56), strict=True
  ):
    Image.fromarray(image).save(path, quality=90)
  return Split(LABELS, paths=paths)


@pytest.fixture(scope="module")
def arrays():
  return Split(LABELS, images=_smooth_images(NUM_IMAGES, 40, 56))


@pytest.fixture(params=["arrays", TfReader, PillowReader])
def split(request, monkeypatch):
  """The images in memory, and in files for both readers."""
  if request.param == "arrays":
    return request.getfixturevalue("arrays")
  monkeypatch.setattr(input_pipeline, "default_reader", lambda: request.param)
  return request.getfixturevalue("files")


def _plan(batch_size=8, slots=4, seed=1):
  tail = np.array([False, True, True])
  return sampling.epoch_plan(
    LABELS,
    seed=seed,
    stage=2,
    epoch=0,
    batch_size=batch_size,
    gamma=0.5,
    hallucinate=sampling.HallucinationPlan(tail, 0.5, slots),
  )


def _train(split, plan, **options):
  options = {"image_size": 24, "num_threads": 2, **options}
  return list(input_pipeline.train_batches(split, plan, **options))


def _evaluate(split, **options):
  options = {"batch_size": 8, "image_size": 24, "resize_size": 28, **options}
  return list(input_pipeline.eval_batches(split, num_threads=2, **options))


# Crop windows


def test_windows_lie_inside_images_of_any_shape():
  rng = np.random.default_rng(0)
  heights, widths = rng.integers(1, 400, (2, 20_000))
  uniforms = rng.random((20_000, 22))
  y, x, h, w = crop_windows(
    heights, widths, uniforms, scale=SCALE, ratio=RATIO
  ).T
  assert np.all((y >= 0) & (x >= 0) & (h > 0) & (w > 0))
  assert np.all((y + h <= heights) & (x + w <= widths))


@pytest.mark.parametrize(
  "height, width, expected", [(480, 640, 0.4314), (500, 500, 0.4780)]
)
def test_mean_area_is_torchvisions(height, width, expected):
  # E[a^2 / 2] / E[a] over the areas that fit, in closed form; the library
  # facts' 0.431 is that of the usual 4:3 photographs.
  uniforms = np.random.default_rng(0).random((100_000, 22))
  windows = crop_windows(height, width, uniforms, scale=SCALE, ratio=RATIO)
  area = np.mean(windows[:, 2] * windows[:, 3]) / (height * width)
  assert abs(area - expected) < 0.003


def test_window_of_the_first_try_by_hand():
  uniforms = np.zeros(22)
  uniforms[0], uniforms[10] = 0.25, 0.5  # A quarter of the area, square.
  uniforms[20:] = 0.5, 0.999
  window = crop_windows(
    100, 100, uniforms, scale=(0.0001, 0.9997), ratio=(0.5, 2.0)
  )
  np.testing.assert_array_equal(window, [25, 50, 50, 50])


@pytest.mark.parametrize(
  "height, width, expected",
  [(10, 1000, [0, 493, 10, 13]), (1000, 10, [493, 0, 13, 10])],
)
def test_long_images_fall_back_to_their_centre(height, width, expected):
  uniforms = np.full(22, 0.9)
  window = crop_windows(height, width, uniforms, scale=(0.9, 1.0), ratio=RATIO)
  np.testing.assert_array_equal(window, expected)


def test_windows_reach_every_offset_evenly():
  uniforms = np.random.default_rng(0).random((40_000, 22))
  windows = crop_windows(8, 8, uniforms, scale=(0.25, 0.25), ratio=(1.0, 1.0))
  for offsets in windows[:, :2].T:
    share = np.bincount(offsets) / len(offsets)
    np.testing.assert_allclose(share, np.full(5, 0.2), atol=0.01)


# Training batches


def test_training_batch_has_images_labels_and_sources(split):
  plan = _plan()
  batches = _train(split, plan)
  assert len(batches) == len(plan) == 3
  for step, batch in enumerate(batches):
    assert batch.image.shape == (8, 24, 24, 3)
    assert batch.source_image.shape == (4, 24, 24, 3)
    assert batch.image.dtype == batch.source_image.dtype == np.uint8
    assert batch.label.dtype == batch.source_label.dtype == np.int32
    np.testing.assert_array_equal(batch.label, LABELS[plan.indices[step]])
    labels = LABELS[plan.sources[step]]
    np.testing.assert_array_equal(batch.source_label, labels)
    np.testing.assert_array_equal(batch.source_used, plan.used[step])


def test_plan_without_slots_gives_no_sources(arrays):
  plan = sampling.epoch_plan(LABELS, seed=0, stage=1, epoch=0, batch_size=8)
  batch = _train(arrays, plan)[0]
  assert len(batch.source_image) == len(batch.source_label) == 0
  assert len(batch.source_used) == 0


def test_files_are_cropped_as_pillow_does(files, reader):
  plan = _plan()
  for step, batch in enumerate(_train(files, plan)):
    for images, rows, uniforms, scale in (
      (batch.image, plan.indices, plan.crop_uniforms(step)[0], SCALE),
      (batch.source_image, plan.sources, plan.crop_uniforms(step)[1], (0.3, 1)),
    ):
      windows = crop_windows(40, 56, uniforms, scale=scale, ratio=RATIO)
      for row, window, image in zip(rows[step], windows, images, strict=True):
        with Image.open(files.paths[row]) as opened:
          expected = _pillow_crop(opened, window, 24)
        np.testing.assert_array_equal(image, expected)


def test_arrays_are_cropped_as_pillow_does(arrays):
  plan = _plan()
  batch = _train(arrays, plan)[1]
  uniforms = plan.crop_uniforms(1)[0]
  windows = crop_windows(40, 56, uniforms, scale=SCALE, ratio=RATIO)
  for row, window, image in zip(
    plan.indices[1], windows, batch.image, strict=True
  ):
    expected = _pillow_crop(arrays.images[row], window, 24)
    np.testing.assert_array_equal(image, expected)


def test_crops_of_files_and_arrays_are_bicubic_where_asked_for(split, arrays):
  plan = _plan()
  windows = crop_windows(
    40, 56, plan.crop_uniforms(1)[1], scale=(0.3, 1.0), ratio=RATIO
  )
  batch = _train(split, plan, interpolation="bicubic")[1]
  for row, window, image in zip(
    plan.sources[1], windows, batch.source_image, strict=True
  ):
    whole = (
      arrays.images[row]
      if split.images is not None
      else Image.open(split.paths[row])
    )
    weights = Image.Resampling.BICUBIC
    expected = _pillow_crop(whole, window, 24, weights=weights)
    np.testing.assert_array_equal(image, expected)


def test_crops_resized_on_the_device_are_the_same_bits(files, reader):
  plan = _plan()
  # Not all of the crops, of up to 40 x 53 pixels, fit.
  travelling = _train(files, plan, canvas=36)
  assert travelling[0].image.pixels.shape == (8, 36, 36, 3)
  assert travelling[0].image.extents.max() > 30
  for here, batch in zip(_train(files, plan), travelling, strict=True):
    for kind in ("image", "source_image"):
      there = device_resize.resize_crops(*getattr(batch, kind), 24)
      np.testing.assert_array_equal(getattr(here, kind), there)


def test_images_in_memory_never_travel_in_canvases(arrays):
  for here, batch in zip(
    _train(arrays, _plan()), _train(arrays, _plan(), canvas=36), strict=True
  ):
    _assert_same(here, batch)


def _assert_same(one, two):
  for a, b in zip(one, two, strict=True):
    np.testing.assert_array_equal(a, b)


def test_both_readers_give_the_same_bits(files):
  ours = _train(files, _plan(), reader=TfReader)
  theirs = _train(files, _plan(), reader=PillowReader)
  for a, b in zip(ours, theirs, strict=True):
    _assert_same(a, b)


def test_training_repeats_bit_for_bit_on_any_threads(split):
  one, two = (_train(split, _plan(), num_threads=n) for n in (1, 3))
  for a, b in zip(one, two, strict=True):
    _assert_same(a, b)


def test_resumed_training_continues_the_same_crops(split):
  whole, rest = _train(split, _plan()), _train(split, _plan().tail(1))
  for a, b in zip(whole[1:], rest, strict=True):
    _assert_same(a, b)


def test_shards_of_training_make_the_whole_batch(split):
  whole = _train(split, _plan())
  shards = [_train(split, _plan().shard(i, 2)) for i in range(2)]
  for batch, *parts in zip(whole, *shards, strict=True):
    for name in ("image", "label"):
      joined = np.concatenate([getattr(part, name) for part in parts])
      np.testing.assert_array_equal(joined, getattr(batch, name))
    for name in ("source_image", "source_label", "source_used"):
      dealt = np.stack([getattr(part, name) for part in parts], axis=1)
      array = getattr(batch, name)
      np.testing.assert_array_equal(dealt.reshape(array.shape), array)


def test_finished_plan_gives_no_batch(split):
  assert _train(split, _plan().tail(3)) == []


@pytest.mark.parametrize(
  "options, message",
  [
    ({"image_size": 0}, "image_size is 0; expected 1 or more"),
    ({"canvas": 7}, "canvas is 7; expected image_size, 8, or more"),
    (
      {"canvas": 9, "interpolation": "bicubic"},
      "canvas is 9; expected None with interpolation bicubic",
    ),
    ({"interpolation": ""}, "interpolation is ''; expected bilinear or bicub"),
    (
      {"crop_scale": (0.0, 1.0)},
      r"crop_scale is \(0.0, 1.0\); expected 0 < low",
    ),
    ({"source_crop_scale": (0.5, 1.5)}, r"^source_crop_scale is \(0.5, 1.5\)"),
    (
      {"crop_ratio": (2.0, 1.0)},
      r"crop_ratio is \(2.0, 1.0\); expected 0 < low",
    ),
  ],
)
def test_bad_training_options_are_named_at_once(arrays, options, message):
  with pytest.raises(ValueError, match=message):
    input_pipeline.train_batches(
      arrays, _plan(), **{"image_size": 8, **options}
    )


def test_number_of_threads_is_checked(files):
  with pytest.raises(ValueError, match="num_threads is 0; expected 1 or more"):
    input_pipeline.train_batches(files, _plan(), image_size=8, num_threads=0)


# Evaluation batches


def test_evaluation_gives_every_image_once_in_order(split):
  batches = _evaluate(split)
  assert [batch.mask.sum() for batch in batches] == [8, 8, 8, 6]
  labels = np.concatenate([batch.label[batch.mask] for batch in batches])
  np.testing.assert_array_equal(labels, LABELS)
  assert {batch.image.shape for batch in batches} == {(8, 24, 24, 3)}
  assert not np.any(batches[-1].image[6:])


def _pillow_centre(image, width, height, x, y):
  resized = Image.fromarray(np.asarray(image)).resize(
    (width, height), Image.Resampling.BILINEAR
  )
  return np.asarray(resized)[y : y + 24, x : x + 24]


def test_evaluation_crop_is_pillows(split):
  # 40 x 56 becomes 28 x int(39.2); offsets are 2 and round(7.5) = 8.
  images = np.concatenate([b.image for b in _evaluate(split)])
  for i in range(NUM_IMAGES):
    if split.images is not None:
      expected = _pillow_centre(split.images[i], 39, 28, 8, 2)
      np.testing.assert_array_equal(images[i], expected)
    else:
      with Image.open(split.paths[i]) as opened:
        expected = _pillow_centre(opened, 39, 28, 8, 2)
      assert np.abs(expected.astype(int) - images[i]).max() <= 1


def test_processes_share_the_evaluation(split):
  whole = _evaluate(split)
  shards = [
    _evaluate(split, process_index=i, process_count=4) for i in range(4)
  ]
  for batch, *parts in zip(whole, *shards, strict=True):
    joined = [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
    _assert_same(batch, joined)


def test_evaluation_enlarges_tiny_images():
  tiny = Split(np.zeros(1, int), images=np.full((1, 1, 2, 3), 9, np.uint8))
  (batch,) = _evaluate(tiny, batch_size=1)
  np.testing.assert_array_equal(batch.image, np.full((1, 24, 24, 3), 9))


@pytest.mark.parametrize(
  "options, message",
  [
    (
      {"resize_size": 20},
      "resize_size is 20; expected image_size, 24, or more",
    ),
    ({"process_count": 3}, "batch_size is 8; expected a multiple .* 3"),
    ({"interpolation": "box"}, "interpolation is 'box'; expected bilinear or"),
    ({"image_size": -1}, "image_size is -1; expected 1 or more"),
  ],
)
def test_bad_evaluation_options_are_named(arrays, options, message):
  with pytest.raises(ValueError, match=message):
    _evaluate(arrays, **options)


# File formats


def _save_formats(folder):
  """One image in each format; returns {path: the RGB array inside}."""
  rgb = Image.fromarray(_smooth_images(1, 24, 24)[0])
  alpha = rgb.copy()
  alpha.putalpha(
    Image.fromarray(np.tile(np.arange(24, dtype=np.uint8), (24, 1)))
  )
  saved = {
    "rgb.png": (rgb, "PNG"),
    "grey.png": (rgb.convert("L"), "PNG"),
    "alpha.png": (alpha, "PNG"),
    "palette.png": (rgb.convert("P"), "PNG"),
    "grey.jpg": (rgb.convert("L"), "JPEG"),
    "cmyk.jpg": (rgb.convert("CMYK"), "JPEG"),
    "really_png.jpg": (rgb, "PNG"),
    "image.bmp": (rgb, "BMP"),
    "image.gif": (rgb.convert("P"), "GIF"),
    "image.webp": (rgb, "WEBP"),
  }
  result = {}
  for name, (image, kind) in saved.items():
    image.save(folder / name, kind)
    with Image.open(folder / name) as opened:
      result[str(folder / name)] = np.asarray(opened.convert("RGB"))
  result[str(folder / "alpha.png")] = np.asarray(
    Image.alpha_composite(Image.new("RGBA", (24, 24), "white"), alpha).convert(
      "RGB"
    )
  )
  return result


def test_every_format_decodes_to_rgb(tmp_path, reader):
  expected = _save_formats(tmp_path)
  split = Split(np.zeros(len(expected), int), paths=list(expected))
  (batch,) = _evaluate(split, batch_size=len(expected), resize_size=24)
  for (path, image), got in zip(expected.items(), batch.image, strict=True):
    np.testing.assert_array_equal(got, image, path)


def test_every_format_can_be_cropped(tmp_path, reader):
  expected = _save_formats(tmp_path)
  split = Split(np.zeros(len(expected), int), paths=list(expected))
  plan = sampling.epoch_plan(
    split.labels, seed=0, stage=1, epoch=0, batch_size=len(expected)
  )
  (batch,) = _train(split, plan)
  windows = crop_windows(
    24, 24, plan.crop_uniforms(0)[0], scale=SCALE, ratio=RATIO
  )
  for i, path in enumerate(split.paths[plan.indices[0]]):
    image = _pillow_crop(expected[path], windows[i], 24)
    np.testing.assert_array_equal(batch.image[i], image, path)


@pytest.mark.parametrize("content", ["truncated", b"no image", b"", None])
def test_undecodable_file_is_named(files, tmp_path, content, reader):
  path = tmp_path / "broken.jpg"
  if content == "truncated":
    content = pathlib.Path(files.paths[0]).read_bytes()[:-400]
  if content is not None:
    path.write_bytes(content)
  paths = [*files.paths[:13], str(path), *files.paths[13:]]
  broken = Split(np.zeros(len(paths), int), paths=paths)
  message = r"broken\.jpg: can't be read"
  batches = input_pipeline.eval_batches(
    broken, batch_size=4, image_size=24, resize_size=24, num_threads=2
  )
  for _ in range(3):
    next(batches)
  with pytest.raises(ValueError, match=message):
    next(batches)
  plan = sampling.epoch_plan(
    broken.labels, seed=0, stage=1, epoch=0, batch_size=len(paths)
  )
  with pytest.raises(ValueError, match=message):
    _train(broken, plan, crop_scale=(1.0, 1.0))


def test_nothing_needs_tensorflow(files):
  """Without it Pillow reads the files, and the program says so once."""
  script = """
import sys
sys.modules["tensorflow"] = None  # Importing it raises.
import numpy as np
from blt_jax.data import input_pipeline, sampling
from blt_jax.data.dataset import Split
images = Split(np.zeros(4, int), np.zeros((4, 8, 8, 3), np.uint8))
files = Split(np.zeros(4, int), paths=sys.argv[1:])
labels = images.labels
plan = sampling.epoch_plan(labels, seed=0, stage=1, epoch=0, batch_size=4)
for split in (images, files, files):
  (batch,) = input_pipeline.train_batches(split, plan, image_size=8)
  print(batch.image.shape, batch.image.any())
"""
  done = subprocess.run(
    [sys.executable, "-c", script, *files.paths[:4]],
    capture_output=True,
    text=True,
    cwd=pathlib.Path(__file__).parents[2],
  )
  lines = [f"(4, 8, 8, 3) {some}" for some in (False, True, True)]
  assert done.stdout.splitlines() == lines, done.stderr
  assert done.stderr.splitlines() == [
    "TensorFlow is not installed: Pillow reads images, more slowly"
  ]


# Prefetching


def test_prefetch_keeps_order():
  items = input_pipeline.prefetch((i for i in range(50)), 2)
  assert list(items) == list(range(50))


def test_prefetch_runs_ahead_by_its_depth_only():
  made = []
  items = input_pipeline.prefetch((made.append(i) or i for i in range(50)), 2)
  next(items)
  assert len(made) <= 5
  items.close()


def test_prefetch_raises_the_error_in_its_place():
  def failing():
    yield 1
    raise KeyError("broken")

  items = input_pipeline.prefetch(failing(), 2)
  assert next(items) == 1
  with pytest.raises(KeyError, match="broken"):
    next(items)


def test_closing_prefetch_stops_its_thread_and_its_source():
  closed = threading.Event()

  def endless():
    try:
      while True:
        yield 0
    finally:
      closed.set()

  before = threading.active_count()
  items = input_pipeline.prefetch(endless(), 2)
  next(items)
  assert threading.active_count() == before + 1
  items.close()
  assert threading.active_count() == before
  assert closed.is_set()


def test_abandoned_batches_stop(split):
  before = {t for t in threading.enumerate() if t.name == "prefetch"}
  batches = input_pipeline.train_batches(split, _plan(), image_size=8)
  next(batches)
  batches.close()
  after = {t for t in threading.enumerate() if t.name == "prefetch"}
  assert after == before
