"""Weights that are picked, and training from scratch where none can be had."""

import pathlib
import types

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from blt_jax.config import (
  as_begun,
  check_config,
  check_used,
  differing,
  left_open,
  with_values,
)
from blt_jax.config.finetuning import RECIPE, from_scratch
from blt_jax.models import BACKBONES, torch_names
from blt_jax.models import pretrained as models_pretrained
from blt_jax.training import build, choose, devices, pick_weights, train
from blt_jax.training.pick_weights import CONVNEXT, DINOV2, LITE0, ranked
from blt_jax.workdir import directory
from configs import common, finetune, image_folder
from tests import loopback_hub
from tests.small_run import one_block, without_examples


def make_config(**values):
  config = check_config(finetune.get_config("method=neither"))
  return with_values(config, {"num_devices": 1, **values})


@pytest.fixture
def served(monkeypatch, tmp_path):
  with loopback_hub.serve() as found:
    loopback_hub.use(monkeypatch, found.url, tmp_path / "home")
    yield found


@pytest.fixture
def offline(monkeypatch, tmp_path):
  """No hub, and nothing in the cache."""
  loopback_hub.use(
    monkeypatch, "http://127.0.0.1:9", tmp_path / "home", offline=True
  )


@pytest.fixture
def gpu(monkeypatch):
  device = types.SimpleNamespace(platform="gpu")
  monkeypatch.setattr(devices, "devices_of", lambda config: [device])


@pytest.fixture(scope="module")
def images(tmp_path_factory):
  """A folder of digits, 40 ... 4 a class."""
  root = tmp_path_factory.mktemp("images")
  digits = load_digits()
  for label, count in enumerate((40, 12, 4)):
    (root / f"digit {label}").mkdir()
    grey = digits.images[digits.target == label][:count] * 16 - 1
    for i, pixels in enumerate(np.clip(grey, 0, 255).astype(np.uint8)):
      Image.fromarray(pixels).save(root / f"digit {label}" / f"{i:02d}.png")
  return str(root)


@pytest.mark.parametrize(
  ("values", "expected"),
  [
    ({"on_cpu": True}, [LITE0]),
    ({"on_cpu": True, "num_images": 10**6}, [LITE0]),
    ({}, [DINOV2, CONVNEXT, LITE0]),
    ({"num_images": 10**6}, [CONVNEXT, DINOV2, LITE0]),
    ({"short_side": 32}, [CONVNEXT, DINOV2, LITE0]),
    ({"image_size": 64}, [CONVNEXT, LITE0]),  # No multiple of 14 pixels.
  ],
)
def test_weights_follow_images_and_device(values, expected):
  usual = {"num_images": 2000, "short_side": 300, "image_size": 0}
  assert ranked(**{**usual, "on_cpu": False, **values}) == expected


@pytest.mark.parametrize("candidate", [LITE0, CONVNEXT, DINOV2])
def test_candidates_are_of_known_backbones(candidate):
  assert candidate.backbone in BACKBONES
  assert check_config(make_config(**{"model.pretrained": candidate.source}))


def _pick(config, *, num_images=2000, short_side=300):
  return pick_weights.pick(config, num_images=num_images, short_side=short_side)


def test_picked_weights_are_fetched_and_said(served):
  served.add(f"timm/{LITE0.name}", {"model.safetensors": b"weights"})
  config, (line,) = _pick(make_config())
  assert config == make_config(**{"model.pretrained": LITE0.source})
  assert line == (
    f"picked weights {LITE0.source}: 2000 training images of 300 pixels, on a "
    "CPU; small enough to be fine-tuned on a CPU"
  )
  assert models_pretrained.locate(config.model.pretrained, offline=True)


def test_others_of_the_cache_do_where_the_hub_has_not_the_best(
  served, gpu, monkeypatch
):
  served.add(f"timm/{LITE0.name}", {"model.safetensors": b"weights"})
  served.add(f"timm/{CONVNEXT.name}", {"model.safetensors": b"weights"})
  models_pretrained.locate(LITE0.source)
  config, (line,) = _pick(make_config())
  assert config.model.pretrained == LITE0.source
  assert "they are in the cache, and hf:timm/vit_base_patch14_reg4" in line


def test_without_weights_it_is_training_from_scratch(offline):
  config, (line,) = _pick(check_config(finetune.get_config()))
  usual = check_config(image_folder.get_config())
  assert set(differing(config, usual)) == {"dataset.name"}
  assert line.startswith("note: no pretrained weights can be had")
  assert "has no model.safetensors in the cache, and HF_HUB_OFFLINE is" in line
  assert f"`hf download timm/{LITE0.name} model.safetensors config.json" in line
  assert "--config.model.pretrained=weights/model.safetensors" in line


def test_values_that_are_not_of_the_recipe_stay(offline):
  values = {"stage1.epochs": 3, "model.loss": "focal", "stage2.gamma": 0.5}
  config, _ = _pick(make_config(**values))
  assert set(differing(config, from_scratch(make_config()))) == set(values)


def test_part_of_a_network_can_not_be_trained_from_scratch(offline):
  with pytest.raises(ValueError, match="train is 'classifier'; expected weigh"):
    _pick(make_config(**{"model.train": "classifier"}))


def test_named_backbone_is_kept(served):
  served.add(f"timm/{CONVNEXT.name}", {"model.safetensors": b"weights"})
  config, _ = _pick(make_config(**{"model.backbone": CONVNEXT.backbone}))
  assert config.model.pretrained == CONVNEXT.source


def test_backbone_without_known_weights_is_refused(gpu):
  with pytest.raises(ValueError, match="with config.model.backbone resnet50"):
    _pick(make_config(**{"model.backbone": "resnet50"}))


def test_weights_are_left_open_for_own_images_alone():
  config = make_config()
  assert "model.pretrained" in left_open(config)
  with pytest.raises(ValueError, match="pretrained is 'auto'; expected a safe"):
    with_values(config, {"dataset.source": "tfds"})


@pytest.mark.parametrize(
  ("backbone", "train"),
  [
    ("tf_efficientnet_lite0", "norms_and_biases"),
    (DINOV2.backbone, "adapters"),
  ],
)
def test_what_is_trained_follows_the_backbone(backbone, train):
  sample = choose.Sample(2000, np.array([(300, 400)]))
  given = {"model.backbone": backbone, "model.pretrained": "a.safetensors"}
  config, _ = choose.choose(make_config(**given), sample, num_devices=1)
  assert config.model.train == train


def test_recipe_sets_nothing_that_a_method_sets():
  of_methods = {name for each in common.METHODS.values() for name in each}
  assert not of_methods & set(RECIPE)


def test_run_goes_on_with_what_was_picked():
  config = make_config()
  begun = with_values(
    config,
    {
      "model.pretrained": f"hf:timm/{LITE0.name}@{'01' * 20}",
      "model.backbone": LITE0.backbone,
      "model.train": "all",
      "dataset.image_size": 96,
    },
  )
  left = {"stage1.batch_size", "stage2.batch_size", "model.pretrained_sha256"}
  left |= {name for name in left_open(begun) if name.startswith("dataset.")}
  assert set(differing(as_begun(config, begun), begun)) <= left


def test_run_without_a_hub_trains_from_scratch_and_goes_on(
  offline, images, tmp_path, capsys
):
  config = make_config(
    **{"dataset.root": images, "stage1.epochs": 1, "stage2.epochs": 0}
  )
  with one_block(), without_examples():
    train.train(config, tmp_path / "run")
    said = capsys.readouterr().out
    assert "note: no pretrained weights can be had" in said
    assert "picked backbone small_resnet10: " in said
    begun = directory.read_config(tmp_path / "run")
    assert begun.model.pretrained == ""
    assert begun.model.hidden == 512
    assert begun.optimizer.rate_batch_size == 256
    assert begun.stage1.epochs == 1
    train.train(config, tmp_path / "run")
  assert "is finished" in capsys.readouterr().out


def test_run_begins_with_a_file(images, tmp_path, capsys, monkeypatch):
  def begin(session, state, progress):
    raise KeyboardInterrupt

  monkeypatch.setattr(train, "train_stages", begin)
  with one_block():
    shapes = torch_names.torch_shapes("small_resnet10")
    path = tmp_path / "small_resnet10.safetensors"
    path.write_bytes(loopback_hub.weights(shapes, classes=3))
    config = make_config(
      **{"dataset.root": images, "model.pretrained": str(path)}
    )
    with pytest.raises(KeyboardInterrupt):
      train.train(config, tmp_path / "run")
  said = capsys.readouterr().out
  assert f"the backbone begins with the weights of {path}" in said
  begun = directory.read_config(tmp_path / "run")
  assert begun.model.backbone == "small_resnet10"
  assert begun.model.train == "norms_and_biases"
  assert begun.model.hidden == 0
  assert begun.optimizer.schedule == "cosine"


@pytest.mark.parametrize("source", ["image_table", "image_list"])
def test_tables_and_lists_are_taken(source, images, tmp_path):
  folder = pathlib.Path(images)
  paths = sorted(path.relative_to(folder) for path in folder.rglob("*.png"))
  if source == "image_table":
    text = "".join(f"{path},{path.parent}\n" for path in paths)
    files = {"table": f"path,label\n{text}"}
  else:
    lines = [f"{path} {path.parent.name[-1]}\n" for path in paths]
    files = {
      "train_list": "".join(lines[::2]),
      "test_list": "".join(lines[1::2]),
    }
  values = {"dataset.source": source, "dataset.root": images}
  for field, text in files.items():
    (tmp_path / field).write_text(text)
    values[f"dataset.{field}"] = str(tmp_path / field)
  config = make_config(**values)
  check_used(config, values)
  dataset = build.build_dataset(config)
  assert dataset.name == "images"
  assert min(map(len, dataset.splits.values())) > 0
