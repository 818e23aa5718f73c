"""What is picked for a configuration that leaves it open."""

import dataclasses
import importlib
import json

import numpy as np
import pytest
from PIL import Image

from blt_jax.config import check_config, follow, left_open, with_values
from blt_jax.data.dataset import Split
from blt_jax.training import build, choose
from configs import digits_lt, image_folder


def _sample(num_images=1000, shapes=((375, 500), (500, 375))):
  return choose.Sample(num_images, np.array(shapes))


def _pick(seen, *, arg=None, devices=1, **fields):
  config = image_folder.get_config(arg)
  config.dataset.update(fields)
  picked, reasons = choose.choose(
    check_config(config), seen, num_devices=devices
  )
  # No image is deeper than 8 bits, so there is no range to pick.
  assert left_open(picked) == ["dataset.grey_range"]
  return picked, reasons


@pytest.mark.parametrize(
  "shapes, size",
  [
    ([(8, 8), (8, 8)], 16),
    ([(28, 28)], 28),
    ([(32, 32), (32, 32)], 32),
    ([(48, 60), (48, 60)], 48),
    ([(30, 40), (40, 30)], 32),
    ([(20, 20), (32, 32)], 32),
    ([(49, 49)], 64),
    ([(64, 80)], 64),
    ([(100, 130)], 96),
    ([(143, 200), (128, 128)], 128),
    ([(223, 500)], 192),
    ([(224, 224)], 224),
    ([(3000, 4000)], 224),
    ([(10, 10), (300, 400), (300, 400)], 224),
  ],
)
def test_image_size_follows_the_images(shapes, size):
  assert choose.image_size(_sample(shapes=shapes)) == size


@pytest.mark.parametrize(
  "size, images, name",
  [
    (16, 100, "small_resnet10"),
    (48, 10**6, "small_resnet10"),
    (64, 100, "resnet10"),
    (224, 115_846, "resnet10"),
    (224, 437_513, "resnet34"),
  ],
)
def test_backbone_follows_size_and_number(size, images, name):
  assert choose.backbone(size, images) == name


@pytest.mark.parametrize(
  "images, devices, size",
  [
    (2, 1, 2),
    (7, 1, 4),
    (9, 1, 8),
    (73, 1, 8),
    (150, 1, 16),
    (389, 1, 32),
    (1000, 1, 64),
    (2048, 1, 256),
    (10**6, 1, 256),
    (150, 2, 16),
    (150, 3, 15),
    (9, 8, 8),
    (1000, 6, 60),
  ],
)
def test_batch_follows_the_number_of_images(images, devices, size):
  assert choose.batch_size(images, devices, most=256) == size


def test_batch_is_never_more_than_there_is():
  for images in range(2, 3000):
    assert 1 <= choose.batch_size(images, 1, most=256) <= images


def test_everything_is_picked_and_said():
  config, reasons = _pick(_sample(150))
  assert (config.dataset.image_size, config.dataset.resize_size) == (224, 256)
  assert config.model.backbone == "resnet10"
  assert config.stage1.batch_size == config.stage2.batch_size == 16
  assert reasons == [
    "picked image size 224: the short sides of the images have a median of 375"
    " pixels (2 looked at)",
    "picked backbone resnet10: 150 training images of 224 pixels",
    "picked batch size 16: 9 steps an epoch",
  ]


def test_what_is_set_stays():
  config, reasons = _pick(
    _sample(150),
    arg="backbone=resnet18,batch=64",
    image_size=64,
    resize_size=256,
  )
  assert (config.dataset.image_size, config.dataset.resize_size) == (64, 256)
  assert config.model.backbone == "resnet18"
  assert config.stage1.batch_size == config.stage2.batch_size == 64
  assert reasons == []


def test_the_rest_follows_a_size_that_is_set():
  config, reasons = _pick(_sample(), image_size=32)
  assert config.dataset.resize_size == 36
  assert config.model.backbone == "small_resnet10"
  assert len(reasons) == 2


def test_image_is_never_larger_than_what_it_is_cut_from():
  config, _ = _pick(_sample(), resize_size=128)
  assert (config.dataset.image_size, config.dataset.resize_size) == (128, 128)


@pytest.mark.parametrize(
  "backbone, shape, size",
  [
    ("vit_small_patch14_dinov2", (200, 210), 196),
    ("vit_tiny_patch16_224", (28, 28), 32),
    ("convnext_atto", (28, 28), 32),
  ],
)
def test_image_size_is_one_that_the_backbone_takes(backbone, shape, size):
  seen = _sample(shapes=[shape] * 2)
  config, _ = _pick(seen, arg=f"backbone={backbone}")
  assert config.dataset.image_size == size


def test_image_size_that_a_backbone_takes_stays_below_what_it_is_cut_from():
  arg = "backbone=vit_small_patch14_dinov2"
  config, _ = _pick(_sample(), arg=arg, resize_size=195)
  assert config.dataset.image_size == 182


def test_one_batch_can_be_set_alone():
  config = image_folder.get_config()
  config.stage2.batch_size = 10
  picked, _ = choose.choose(check_config(config), _sample(), num_devices=1)
  assert (picked.stage1.batch_size, picked.stage2.batch_size) == (64, 10)


# Which configurations may leave what open


def test_sources_of_own_images_may_leave_fields_open():
  for source in ("image_folder", "image_list", "npz"):
    config = image_folder.get_config()
    config.dataset.source = source
    check_config(config)


@pytest.mark.parametrize("field", ["dataset.image_size", "stage2.batch_size"])
def test_other_sources_may_not(field):
  config = digits_lt.get_config()
  section, name = field.split(".")
  config[section][name] = 0
  with pytest.raises(
    ValueError, match=f"config.{field} is 0; expected a whole"
  ):
    check_config(config)


@pytest.mark.parametrize(
  "name, fields",
  [
    ("digits_lt", 1),
    ("cifar10_lt", 5),
    ("imagenet_lt", 5),
    ("image_folder", 9),
    ("image_list", 9),
    ("image_table", 9),
  ],
)
def test_configs_of_own_images_leave_fields_open(name, fields):
  config = importlib.import_module(f"configs.{name}").get_config()
  is_open = left_open(check_config(config))
  assert len(is_open) == fields
  assert "dataset.interpolation" in is_open
  assert "dataset.grey_range" in is_open or name == "digits_lt"


@pytest.mark.parametrize("value", [-1, 7])
def test_message_tells_that_a_field_may_be_open(value):
  config = image_folder.get_config()
  config.dataset.image_size = value
  with pytest.raises(ValueError, match="from 8 to .*, or 0 to have it picked"):
    check_config(config)


# Looking


def _write(root, sizes, *, below=""):
  """Classes a, b and c with images of these (width, height)."""
  for name in "abc":
    folder = root / below / name
    folder.mkdir(parents=True)
    for i, size in enumerate(sizes):
      Image.new("RGB", size, (i, i, i)).save(folder / f"{i}.jpg")


def _split(root):
  paths = sorted(str(path) for path in root.rglob("*.jpg"))
  return Split(np.zeros(len(paths), int), paths=paths)


def test_look_reads_height_and_width(tmp_path):
  _write(tmp_path, [(40, 30)])
  seen = choose.sample(_split(tmp_path))
  assert seen.num_images == 3
  assert seen.shapes.tolist() == 3 * [[30, 40]]
  assert seen.one_size
  assert seen.short_side == 30


def test_look_takes_a_sample_from_the_whole_split(tmp_path):
  _write(tmp_path, [(40, 30), (50, 50)])
  seen = choose.sample(_split(tmp_path), most=2)
  assert seen.num_images == 6
  assert seen.shapes.tolist() == [[30, 40], [50, 50]]


def test_look_ignores_what_can_not_be_read(tmp_path):
  _write(tmp_path, [(40, 30)])
  (tmp_path / "a" / "0.jpg").write_bytes(b"no image")
  (tmp_path / "b" / "0.jpg").unlink()
  (tmp_path / "b" / "0.jpg").symlink_to("gone.jpg")
  assert len(choose.sample(_split(tmp_path)).shapes) == 1


def test_look_refuses_where_nothing_can_be_read(tmp_path):
  for name in "ab":
    (tmp_path / f"{name}.jpg").write_bytes(b"no image")
  with pytest.raises(ValueError, match=r"a\.jpg: can't be read .*none of 2"):
    choose.sample(_split(tmp_path))


@pytest.mark.parametrize("kind", ["png", "webp", "gif", "bmp", "jpeg"])
def test_look_reads_files_that_are_longer_than_their_beginning(tmp_path, kind):
  rng = np.random.default_rng(0)
  pixels = rng.integers(0, 256, (700, 900, 3), np.uint8)
  path = tmp_path / f"a.{kind}"
  Image.fromarray(pixels).save(path)
  assert path.stat().st_size > choose._HEAD
  seen = choose.sample(Split(np.zeros(1, int), paths=[str(path)]))
  assert seen.shapes.tolist() == [[700, 900]]


def test_look_knows_images_in_memory():
  images = np.zeros((5, 20, 30, 3), np.uint8)
  seen = choose.sample(Split(np.zeros(5, int), images=images))
  assert (seen.num_images, seen.short_side, seen.one_size) == (5, 20, True)


# Resolving


def _config(root):
  config = image_folder.get_config()
  config.dataset.root = str(root)
  return check_config(config)


def test_folder_is_looked_at(tmp_path):
  _write(tmp_path, 8 * [(150, 130)])
  picked = choose.complete(_config(tmp_path), num_devices=2)
  assert picked.config.dataset.image_size == 128
  assert picked.config.stage1.batch_size == 8
  assert picked.dataset is not None
  assert len(picked.dataset.train) == 12
  assert len(picked.reasons) == 3


def test_nothing_is_looked_at_where_nothing_is_open():
  config = follow(check_config(digits_lt.get_config()))
  picked = choose.complete(config)
  assert picked.config is config
  assert picked.dataset is None
  assert picked.reasons == ()


def test_images_need_not_be_looked_at_for_what_follows_from_a_field():
  config = digits_lt.get_config()
  config.dataset.update(image_size=28, resize_size=0)
  picked = choose.complete(check_config(config))
  assert picked.config.dataset.resize_size == 32
  assert picked.config.dataset.interpolation == "bilinear"
  assert left_open(picked.config) == []
  assert picked.dataset is None
  assert picked.reasons == ()


def test_a_run_keeps_what_followed_from_its_fields(tmp_path):
  config = digits_lt.get_config()
  config.dataset.resize_size = 0
  values = {"dataset.resize_size": 21, "dataset.interpolation": "bicubic"}
  begun = with_values(check_config(config), values)
  (tmp_path / "config.json").write_text(json.dumps(dataclasses.asdict(begun)))
  again = choose.complete(check_config(config), workdir=tmp_path).config
  assert again.dataset.resize_size == 21
  assert again.dataset.interpolation == "bicubic"


def test_same_folder_gives_the_same(tmp_path):
  _write(tmp_path, 8 * [(150, 130)])
  first, again = (
    choose.complete(_config(tmp_path), num_devices=1).config for _ in range(2)
  )
  assert first == again


def test_a_run_goes_on_with_what_it_began_with(tmp_path):
  _write(tmp_path / "images", 8 * [(150, 130)])
  config = _config(tmp_path / "images")
  workdir = tmp_path / "run"
  workdir.mkdir()
  begun = choose.complete(config, workdir=workdir, num_devices=1).config
  (workdir / "config.json").write_text(json.dumps(dataclasses.asdict(begun)))
  _write(tmp_path / "images", 300 * [(40, 40)], below="d")
  again = choose.complete(config, workdir=workdir, num_devices=4)
  assert again.config == begun
  assert again.dataset is None


def test_damaged_config_of_the_work_directory_is_refused(tmp_path):
  _write(tmp_path / "images", 8 * [(150, 130)])
  content = {"dataset": {"image_size": 3}, "model": {}}
  (tmp_path / "config.json").write_text(json.dumps(content))
  with pytest.raises(ValueError, match=r"config\.json: config\.optimizer is"):
    choose.complete(
      _config(tmp_path / "images"), workdir=tmp_path, num_devices=1
    )


def _deep_folder(tmp_path, scale=16):
  for number in range(12):
    ramp = np.arange(400).reshape(20, 20) % 256 * scale
    path = tmp_path / f"{'ab'[number % 2]}" / f"{number}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((ramp + number).astype(np.uint16)).save(path)
  return _config(tmp_path)


def test_the_scale_of_deep_grey_is_picked_and_said(tmp_path):
  picked = choose.complete(_deep_folder(tmp_path), num_devices=1)
  assert picked.config.dataset.grey_range == (0, 4095)
  assert left_open(picked.config) == []
  assert build.decoding(picked.config).grey_range == (0, 4095)
  (line,) = [line for line in picked.reasons if "8 bits" in line]
  assert "0 becomes black and 4095 white (config.dataset.grey_range)" in line


def test_a_scale_that_is_given_stays(tmp_path):
  config = with_values(
    _deep_folder(tmp_path), {"dataset.grey_range": (100, 9000)}
  )
  picked = choose.complete(config, num_devices=1)
  assert picked.config.dataset.grey_range == (100, 9000)
  assert any("100 becomes black and 9000 white" in r for r in picked.reasons)


def test_a_run_keeps_its_scale_when_its_images_change(tmp_path):
  workdir = tmp_path / "run"
  workdir.mkdir()
  config = _deep_folder(tmp_path / "images")
  begun = choose.complete(config, workdir=workdir, num_devices=1).config
  (workdir / "config.json").write_text(json.dumps(dataclasses.asdict(begun)))
  _deep_folder(tmp_path / "images", scale=200)
  again = choose.complete(config, workdir=workdir, num_devices=1).config
  assert again.dataset.grey_range == (0, 4095)


@pytest.mark.parametrize(
  "value", [(1.0,), (2.0, 1.0), (1.0, 1.0), (0.0, float("inf"))]
)
def test_a_scale_has_two_ends(value):
  config = image_folder.get_config()
  config.dataset.grey_range = value
  with pytest.raises(
    ValueError,
    match=r"config.dataset.grey_range is .*; expected \(low, high\), low below",
  ):
    check_config(config)
