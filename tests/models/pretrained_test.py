"""Where weights are, and what they were trained with."""

import dataclasses
import fractions
import hashlib
import json

import pytest
from safetensors.numpy import save_file

from blt_jax.models import BACKBONES, IMAGENET, pretrained, repository
from tests import loopback_hub
from tests.loopback_hub import timm_config

HALF, QUARTER = 3 * (0.5,), 3 * (0.25,)
NO_WEIGHTS = loopback_hub.weights({"conv1.weight": (2, 3, 1, 1)}, classes=5)


@pytest.fixture
def served(monkeypatch, tmp_path):
  with loopback_hub.serve() as found:
    loopback_hub.use(monkeypatch, found.url, tmp_path / "home")
    yield found


@pytest.fixture
def file(tmp_path):
  path = tmp_path / "a.safetensors"
  path.write_bytes(NO_WEIGHTS)
  return path


@pytest.mark.parametrize(
  "source, name, revision",
  [
    ("hf:ann/net", "ann/net", ""),
    ("hf:ann/net.a1_in1k@v1.0", "ann/net.a1_in1k", "v1.0"),
    ("timm:resnet50.a1_in1k", "timm/resnet50.a1_in1k", ""),
    ("timm:resnet50@refs/pr/1", "timm/resnet50", "refs/pr/1"),
  ],
)
def test_repositories_have_two_forms(source, name, revision):
  assert repository(source) == (name, revision)


@pytest.mark.parametrize(
  "source", ["a.safetensors", "ann/net", "hf:net", "hf:a/b/c", "timm:a/b", ""]
)
def test_other_texts_are_no_repository(source):
  assert repository(source) is None


@pytest.mark.parametrize("source", ["hf:ann/net", "timm:resnet18"])
def test_repository_says_how_its_network_was_trained(served, source):
  name = repository(source)[0]
  files = {
    "model.safetensors": NO_WEIGHTS,
    "config.json": timm_config("resnet18", crop_pct=0.95),
  }
  commit = served.add(name, files)
  found = pretrained.find(source, backbone="resnet10")
  assert found.path.read_bytes() == NO_WEIGHTS
  assert found == pretrained.Weights(
    f"hf:{name}@{commit}",
    found.path,
    hashlib.sha256(NO_WEIGHTS).hexdigest(),
    architecture="resnet18",
    num_classes=1000,
    preprocessing=pretrained.Preprocessing(
      HALF, QUARTER, interpolation="bicubic", crop=0.95, size=224
    ),
    told_by="as its config.json says",
  )


@pytest.mark.parametrize(
  ("tag", "architecture"),
  [
    ("openai", "vit_base_patch16_clip_quickgelu_224"),
    ("openai_ft_in1k", "vit_base_patch16_clip_224"),
  ],
)
def test_weights_of_openai_have_the_activation_of_their_training(
  file, tag, architecture
):
  config = timm_config("vit_base_patch16_clip_224", tag=tag)
  file.with_name("config.json").write_bytes(config)
  assert pretrained.find(str(file)).architecture == architecture


@pytest.mark.parametrize(
  ("name", "architecture"),
  [
    ("openai", "vit_base_patch16_clip_quickgelu_224"),
    ("openai_ft_in1k", "vit_base_patch16_clip_224"),
    ("laion2b", "vit_base_patch16_clip_224"),
  ],
)
def test_file_that_is_named_after_openai_has_its_activation(
  tmp_path, name, architecture
):
  for rest in ("", ".1"):
    stem = f"vit_base_patch16_clip_224.{name}{rest}"
    path = tmp_path / f"{stem}.safetensors"
    path.write_bytes(NO_WEIGHTS)
    assert pretrained.find(str(path)).architecture == architecture


def test_repository_whose_config_json_can_not_be_had_is_refused(
  served, monkeypatch, tmp_path
):
  commit = served.add("ann/net", {"model.safetensors": NO_WEIGHTS})
  path, _ = pretrained.locate("hf:ann/net")
  loopback_hub.use(monkeypatch, "http://127.0.0.1:9", tmp_path / "home")
  with pytest.raises(
    ValueError,
    match=f"^hf:ann/net@{commit} can't be reached .*; expected .* config.json "
    f"says how images were prepared .* name the file alone, {path}, and ",
  ):
    pretrained.find("hf:ann/net")
  found = pretrained.find(str(path), backbone="resnet18")
  assert found.told_by == "as usual for resnet18, since no config.json says it"


def test_repository_without_a_config_json_is_as_usual(
  served, monkeypatch, tmp_path
):
  served.add("ann/net", {"model.safetensors": NO_WEIGHTS})
  for url in (served.url, "http://127.0.0.1:9"):  # The cache remembers it.
    loopback_hub.use(monkeypatch, url, tmp_path / "home")
    found = pretrained.find("hf:ann/net", backbone="resnet18")
    assert found.told_by.endswith("since no config.json says it")


def test_file_is_told_of_by_the_config_json_beside_it(file):
  beside = file.with_name("config.json")
  beside.write_bytes(timm_config("resnet18", interpolation="random"))
  found = pretrained.find(str(file))
  assert (found.source, found.architecture) == (str(file), "resnet18")
  assert found.preprocessing.interpolation == "bicubic"
  assert found.told_by.endswith("(but for random: it is bicubic here)")


@pytest.mark.parametrize("content", [{}, {"model_type": "vit"}, []])
def test_config_json_of_others_is_passed_over(file, content):
  file.with_name("config.json").write_text(json.dumps(content))
  found = pretrained.find(str(file), backbone="resnet18")
  assert found.preprocessing.mean == IMAGENET[0]
  assert found.told_by == "as usual for resnet18, since no config.json says it"


def test_export_tells_of_itself(tmp_path):
  about = {
    "backbone": "small_resnet10",
    "image_size": 16,
    "resize_size": 18,
    "mean": HALF,
    "std": QUARTER,
    "class_names": ["a", "b"],
  }
  path = tmp_path / "model.safetensors"
  save_file({}, path, {"blt_jax": json.dumps(about)})
  found = pretrained.find(str(path))
  assert (found.architecture, found.num_classes) == ("small_resnet10", 2)
  assert found.preprocessing == pretrained.Preprocessing(
    HALF, QUARTER, crop=fractions.Fraction(8, 9), size=16
  )
  assert found.preprocessing.resize_size(16) == 18


def test_file_may_be_named_after_its_network(tmp_path):
  path = tmp_path / "vit_tiny_patch16_224.augreg_in21k.safetensors"
  path.write_bytes(NO_WEIGHTS)
  found = pretrained.find(str(path))
  assert found.architecture == "vit_tiny_patch16_224"
  assert found.preprocessing.crop == 0.9
  assert pretrained.find(str(path), backbone="resnet10").architecture == (
    "resnet10"
  )


def test_position_embeddings_tell_the_size_of_the_training(tmp_path):
  shapes = {"pos_embed": (1, 577, 3), "patch_embed.proj.weight": (3, 3, 16, 16)}
  path = tmp_path / "vit_tiny_patch16_224.safetensors"
  path.write_bytes(loopback_hub.weights(shapes, classes=0))
  assert pretrained.find(str(path)).preprocessing.size == 384


def test_nothing_is_assumed_of_an_unknown_network(file):
  found = pretrained.find(str(file))
  assert (found.architecture, found.preprocessing) == ("", None)
  assert pretrained.find(
    str(file), backbone="small_resnet10"
  ).preprocessing is (None)


# timm's default configurations and torchvision's IMAGENET1K_V1.
TABLE = {
  "resnet18": (IMAGENET[0], "bilinear", 0.875, 224),
  "resnext50_32x4d": (IMAGENET[0], "bilinear", 0.875, 224),
  "densenet121": (IMAGENET[0], "bilinear", 0.875, 224),
  "efficientnet_b0": (IMAGENET[0], "bicubic", 0.875, 224),
  "tf_efficientnet_lite0": (HALF, "bicubic", 0.875, 224),
  "vit_small_patch16_224": (HALF, "bicubic", 0.9, 224),
  "vit_base_patch16_clip_quickgelu_224": (
    (0.48145466, 0.4578275, 0.40821073),
    "bicubic",
    0.9,
    224,
  ),
  "vit_small_patch14_dinov2": (IMAGENET[0], "bicubic", 1.0, 518),
  "vit_base_patch14_reg4_dinov2": (IMAGENET[0], "bicubic", 1.0, 518),
  "convnext_tiny": (IMAGENET[0], "bicubic", 0.875, 224),
}


@pytest.mark.parametrize("name", TABLE)
def test_table_has_what_is_usual(file, name):
  found = pretrained.find(str(file), backbone=name).preprocessing
  values = found.mean, found.interpolation, found.crop, found.size
  assert values == TABLE[name]


def test_table_has_every_network_that_is_published(file):
  for name in BACKBONES:
    found = pretrained.find(str(file), backbone=name).preprocessing
    assert (found is None) == (name == "small_resnet10"), name


@pytest.mark.parametrize(
  "size, crop, short",
  [
    (224, 0.875, 256),
    (96, 0.875, 109),
    (224, 0.9, 248),
    (224, 0.95, 235),
    (518, 1.0, 518),
  ],
)
def test_crop_is_rounded_as_timm_does(size, crop, short):
  found = pretrained.Preprocessing(*IMAGENET, crop=crop)
  assert found.resize_size(size) == short


@pytest.mark.parametrize(
  "values, message",
  [
    ({"mean": [0.5, 0.5]}, r"mean is \[0.5, 0.5\]; expected three numbers f"),
    ({"mean": [128, 128, 128]}, "mean is .128, 128, 128.; expected three num"),
    ({"std": [0, 1, 1]}, "std is .* from 0 to 1, not 0"),
    ({"std": "small"}, "std is 'small'; expected three"),
    ({"crop_pct": 0}, "crop_pct is 0; expected a number above 0 and at most"),
    ({"crop_pct": True}, "crop_pct is True"),
    ({"input_size": [1, 28, 28]}, r"input_size is .*; expected \[3, SIDE"),
    ({"input_size": [3, 224, 160]}, "input_size is .* squares of three"),
    ({"input_size": 224}, "input_size is 224"),
  ],
)
def test_what_is_wrong_in_a_config_json_is_named(file, values, message):
  path = file.with_name("config.json")
  path.write_bytes(timm_config("resnet18", **values))
  with pytest.raises(ValueError, match=f"^{path}: {message}"):
    pretrained.find(str(file))


def test_config_json_that_is_none_is_refused(file):
  path = file.with_name("config.json")
  path.write_text("{")
  with pytest.raises(
    ValueError, match=f"^{path}: not JSON; expected what timm"
  ):
    pretrained.find(str(file))
  path.write_text('{"pretrained_cfg": 3}')
  with pytest.raises(ValueError, match="pretrained_cfg is 3; expected an obj"):
    pretrained.find(str(file))


@pytest.mark.parametrize("content", [b"PK\x03\x04rest", NO_WEIGHTS[:-4], b""])
def test_damaged_files_and_pickles_are_refused(served, content):
  served.add("ann/net", {"model.safetensors": content})
  with pytest.raises(ValueError, match="model.safetensors: .*; expected "):
    pretrained.find("hf:ann/net")


def test_lite0_is_known(shared):
  path = shared / "data" / "tf_efficientnet_lite0.safetensors"
  if not path.exists():
    pytest.skip("no weights of EfficientNet-Lite0")
  found = pretrained.find(str(path))
  assert found.architecture == "tf_efficientnet_lite0"
  assert found.sha256.startswith("2d3c8842439142fd39d077f8ac8b5fe7")
  assert dataclasses.astuple(found.preprocessing) == (
    *(HALF, HALF),
    *("bicubic", 0.875, 224),
  )
