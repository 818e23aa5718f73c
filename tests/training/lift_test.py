"""configs/lift.py: one stage as LIFT's, or BLT on top."""

import pytest

from blt_jax.config import check_config, differing
from blt_jax.models import torch_names, vit
from blt_jax.training import train
from blt_jax.workdir import directory, files
from configs import lift
from tests import loopback_hub
from tests.marks import long_test
from tests.small_run import without_examples

# What is not the data set's own.
OTHERS = ("model.", "optimizer.", "stage1.", "stage2.", "method")
PIXELS = {
  *("dataset.image_size", "dataset.resize_size", "dataset.interpolation"),
  *("dataset.five_crop", "dataset.rotation", "dataset.brightness"),
  *("dataset.contrast", "dataset.saturation"),
}


@pytest.mark.parametrize("name", lift.DATASETS)
def test_images_are_those_of_the_data_set(name):
  ours = check_config(lift.get_config(f"dataset={name}"))
  theirs = check_config(lift.DATASETS[name].get_config())
  of_images = {
    field for field in differing(ours, theirs) if not field.startswith(OTHERS)
  }
  assert of_images <= PIXELS
  epochs = 20 if name == "inaturalist2018" else 10
  assert (ours.stage1.epochs, ours.stage2.epochs) == (epochs, 0)
  assert ours.method == "lift"


@pytest.mark.parametrize(
  ("method", "perturb"), [("blt", True), ("neither", False)]
)
def test_methods_have_a_second_stage(method, perturb):
  arg = f"dataset=places_lt,method={method},p=0.5"
  config = check_config(lift.get_config(arg))
  assert (config.dataset.name, config.method) == ("places_lt", method)
  assert (config.stage2.epochs, config.stage2.perturb) == (10, perturb)
  assert config.perturb.p == 0.5


@pytest.mark.parametrize(
  ("arg", "message"),
  [
    ("dataset=imagenet", "dataset is 'imagenet'; expected one of imagenet_lt"),
    ("dataset=places_lt,dataset=places_lt", "dataset is given twice"),
    ("method=clip", "method is 'clip'; expected one of lift, plain"),
  ],
)
def test_what_is_not_known_is_refused(arg, message):
  with pytest.raises(ValueError, match=message):
    lift.get_config(arg)


@long_test("two runs of a vision transformer")
@pytest.mark.parametrize("method", ["lift", "blt"])
def test_it_trains(method, tmp_path, monkeypatch, capsys):
  """In small: one block, digits, an epoch a stage."""
  name = lift.get_config().model.backbone
  tiny = vit.CONFIGS[name] | {"width": 64, "depth": 1, "native_size": 32}
  monkeypatch.setitem(vit.CONFIGS, name, tiny)
  path = tmp_path / "weights.safetensors"
  shapes = torch_names.torch_shapes(name)
  path.write_bytes(loopback_hub.weights(shapes, classes=0))
  config = lift.get_config(f"dataset=cifar100_lt,method={method},p=0.05")
  config.num_devices = 1
  config.model.pretrained = str(path)
  config.dataset.update(
    source="digits",
    max_per_class=100,
    imbalance=10.0,
    image_size=32,
    resize_size=40,
  )
  config.stage1.epochs = 1
  config.stage2.epochs = min(config.stage2.epochs, 1)
  config.perturb.start_epoch = 1
  with without_examples():
    train.train(config, tmp_path / "run")
  said = capsys.readouterr().out
  assert "(config.model.train adapters); each block has an adapter" in said
  epochs = {"lift": "1", "blt": "1 + 1"}[method]
  assert f"{method} with {name}, {epochs} epochs" in said
  results = files.read_object(tmp_path / "run" / "results.json")
  assert results["last"]["stage"] == (1 if method == "lift" else 2)
  begun = directory.read_config(tmp_path / "run")
  assert begun.dataset.mean == pytest.approx((0.481, 0.458, 0.408), abs=1e-3)
