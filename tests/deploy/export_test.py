"""Exports of a real run: loaded elsewhere, compared, documented."""

import contextlib
import dataclasses
import importlib.util
import json
import re
import subprocess
import sys

import flax.linen as nn
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import blt_jax
from blt_jax.deploy import export, model_card, predict
from blt_jax.deploy.description import Description
from blt_jax.deploy.formats import jax_program, safetensors_file, saved_model
from blt_jax.deploy.model import TrainedModel
from blt_jax.models import (
  convnext,
  efficientnet,
  torch_network,
  torch_weights,
  vit,
)
from blt_jax.training import build, resume
from blt_jax.training.train import train
from blt_jax.workdir import directory
from tests import bad_exports
from tests.small_run import ROOT, make_config, network_of


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
  """What the command line makes with every format that needs nothing extra."""
  folder = tmp_path_factory.mktemp("out") / "exported"
  finished = subprocess.run(
    [
      sys.executable,
      "main.py",
      "--mode=export",
      f"--workdir={run}",
      f"--output={folder}",
      "--format=safetensors,jax,savedmodel",
    ],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  assert finished.returncode == 0, finished.stderr
  (folder.parent / "said").write_text(finished.stdout)
  return folder


@pytest.fixture
def images(model):
  return export.sample_images(model.image_size)


@pytest.fixture
def unchecked(monkeypatch):
  """Exports are not loaded in another process, which takes seconds."""
  monkeypatch.setattr(
    export, "compare", lambda model, folder, names: dict.fromkeys(names, 0.0)
  )


def with_fields(model, **fields):
  description = dataclasses.replace(model.description, **fields)
  return dataclasses.replace(model, description=description)


def test_every_format_was_compared(exported):
  said = (exported.parent / "said").read_text()
  found = re.findall(r"^(\w+): logits differ by (\S+) at most$", said, re.M)
  assert [name for name, _ in found] == ["safetensors", "jax", "savedmodel"]
  assert all(float(difference) <= export.TOLERANCE for _, difference in found)
  assert "\nprobabilities: " in said
  assert f"exported: {exported}" in said


def test_what_is_there(exported):
  assert {path.name for path in exported.iterdir()} == {
    "README.md",
    "figures",
    "model.json",
    "model.safetensors",
    "normalized.jaxexport",
    "savedmodel",
    "uint8.jaxexport",
  }


def test_description_is_enough_to_rebuild(exported, run, model):
  content = json.loads((exported / "model.json").read_text())
  about = Description.from_json(content, source="model.json")
  assert about.backbone == "small_resnet10"
  assert about.classifier == "squashing_cosine"
  assert (about.alpha, about.beta) == (20.0, 0.5)
  assert about.class_names == tuple(str(digit) for digit in range(10))
  results = directory.read_results(run)
  assert about.accuracy["test"] == results["best"]["test"]
  assert about.accuracy["validation"] == results["best"]["validation"]
  assert about.test_set == results["test_set"]
  assert about.config == json.loads((run / "config.json").read_text())
  rebuilt = safetensors_file.read(exported)
  assert rebuilt.description == about
  jax.tree.map(
    np.testing.assert_array_equal, rebuilt.variables, dict(model.variables)
  )


@pytest.mark.parametrize("place", ["run", "exported", "model.safetensors"])
def test_load_gives_the_network_of_a_run_and_of_an_export(
  run, exported, model, place
):
  path = {"run": run, "exported": exported}.get(place, exported / place)
  loaded = blt_jax.load(str(path))
  photos = export.sample_images(40)
  expected = np.asarray(model.logits_of_pixels(model.prepare(photos)))
  np.testing.assert_allclose(loaded.logits(photos), expected, atol=1e-4)
  np.testing.assert_array_equal(loaded.predict(photos), expected.argmax(axis=1))
  assert loaded.class_names == tuple("0123456789")
  assert loaded.preprocessing == model.preprocessing


def test_predictions_of_the_export_alone(exported, model, tmp_path):
  from PIL import Image

  for number, image in enumerate(export.sample_images(40)):
    Image.fromarray(image).save(tmp_path / f"{number:02d}.png")
  paths = predict.find_images(tmp_path)
  ours = list(predict.predictions_of(model, paths))
  theirs = list(predict.predictions_of(safetensors_file.read(exported), paths))
  for one, other in zip(ours, theirs, strict=True):
    np.testing.assert_array_equal(one.classes, other.classes)
    np.testing.assert_allclose(one.probabilities, other.probabilities)


def test_programs_are_of_any_number_of_images(exported, model, images):
  normalized = jax.export.deserialize(
    bytearray((exported / jax_program.NORMALIZED).read_bytes())
  )
  classify = jax_program.load(exported)
  for count in (1, 5):
    expected = model.logits_of_pixels(images[:count])
    np.testing.assert_allclose(classify(images[:count]), expected, atol=1e-4)
    rng = np.random.default_rng(0)
    floats = rng.normal(size=(count, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(
      normalized.call(floats), model.calibrated_fn(floats), atol=1e-4
    )
  assert normalized.platforms == jax_program.PLATFORMS


def test_tensors_are_torchvisions(exported, model):
  tensors = load_file(exported / "model.safetensors")
  backbone = torch_weights.backbone_to_torchvision(
    "small_resnet10",
    {
      "params": model.variables["params"]["backbone"],
      "batch_stats": model.variables["batch_stats"]["backbone"],
    },
  )
  assert set(tensors) - set(backbone) == {
    "fc.0.weight",
    "fc.0.bias",
    "fc.2.weight",
  }
  assert tensors["conv1.weight"].shape == (16, 3, 3, 3)
  hidden = model.variables["params"]["hidden"]["kernel"]
  np.testing.assert_array_equal(tensors["fc.0.weight"], np.asarray(hidden).T)


def test_an_export_begins_a_run(exported, capsys):
  config = make_config(model__pretrained=str(exported / "model.safetensors"))
  network = build.build_model(config, 10)
  fresh = build.init_state(config, network, 10)
  begun = resume.with_pretrained(config, fresh)
  theirs = safetensors_file.read(exported).variables
  for mine, wanted in (
    (begun.params["backbone"], theirs["params"]["backbone"]),
    (begun.batch_stats, theirs["batch_stats"]),
    (begun.params["classifier"], fresh.params["classifier"]),
  ):
    jax.tree.map(np.testing.assert_array_equal, mine, wanted)
  assert "the backbone begins with the weights of" in capsys.readouterr().out


@pytest.mark.parametrize(
  "variant, message",
  [
    (
      ",backbone=resnet10",
      "backbone is resnet10; expected small_resnet10, the",
    ),
    (",backbone=densenet121", "backbone is densenet121; expected small_resnet"),
  ],
)
def test_weights_of_another_backbone_begin_nothing(
  exported, tmp_path, variant, message
):
  path = str(exported / "model.safetensors")
  config = make_config(variant, model__pretrained=path)
  with pytest.raises(ValueError, match=message):
    train(config, tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_formats_are_added_to_an_export_of_the_same_network(
  model, tmp_path, unchecked
):
  folder = tmp_path / "exported"
  export.export(model, folder, names=["jax"])
  before = (folder / jax_program.PIXELS).read_bytes()
  export.export(model, folder, names=["safetensors"])
  assert (folder / "model.safetensors").exists()
  assert (folder / jax_program.PIXELS).read_bytes() == before
  later = with_fields(model, accuracy={}, blt_jax="9.9")
  export.check_folder(folder, export.as_exported(later))
  changed = jax.tree.map(lambda leaf: leaf + 1, model.variables)
  other = dataclasses.replace(model, variables=changed)
  with pytest.raises(ValueError, match="export of another network"):
    export.export(other, folder, names=["jax"])


def test_an_export_that_computes_something_else_fails(
  model, tmp_path, monkeypatch
):
  write = safetensors_file.write

  def damaged(model, folder):
    write(model, folder)
    path = folder / safetensors_file.FILE
    tensors = load_file(path)
    with torch_weights.open_safetensors(path) as file:
      metadata = file.metadata()
    tensors["fc.0.bias"] = tensors["fc.0.bias"] + 0.1
    save_file(tensors, path, metadata=metadata)

  monkeypatch.setattr(safetensors_file, "write", damaged)
  with pytest.raises(ValueError, match=r"differ by .*; expected at most 1e-04"):
    export.export(model, tmp_path / "exported", names=["safetensors"])
  assert not any((tmp_path / "exported").iterdir())


def test_an_export_that_does_not_load_fails(model, tmp_path, monkeypatch):
  monkeypatch.setattr(
    jax_program,
    "write",
    lambda model, folder: (folder / jax_program.PIXELS).write_bytes(b"nothing"),
  )
  with pytest.raises(ValueError, match="--format=jax can't be loaded"):
    export.export(model, tmp_path / "exported", names=["jax"])


@pytest.mark.parametrize(
  "names, message",
  [
    (["pickle"], "--format=pickle: expected one or more of safetensors,jax"),
    ([], "--format is empty"),
  ],
)
def test_unknown_formats_are_refused(model, tmp_path, names, message):
  with pytest.raises(ValueError, match=message):
    export.export(model, tmp_path / "exported", names=names)
  assert not (tmp_path / "exported").exists()


def test_a_folder_with_other_files_is_left_alone(model, tmp_path):
  (tmp_path / "thesis.tex").write_text("years of work")
  with pytest.raises(ValueError, match="holds other files"):
    export.export(model, tmp_path)
  assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_hidden_files_are_no_other_files(model, tmp_path, unchecked):
  (tmp_path / ".export-killed").mkdir()
  (tmp_path / ".DS_Store").touch()
  export.export(model, tmp_path, names=["safetensors"])
  assert (tmp_path / export.FILE).exists()


def test_card_promises_predictions_only_where_they_can_be_made(
  exported, model, tmp_path
):
  assert "--mode=predict" in (exported / "README.md").read_text()
  (tmp_path / "uint8.jaxexport").touch()
  model_card.write(model.description, tmp_path)
  assert "--mode=predict" not in (tmp_path / "README.md").read_text()


def test_names_of_classes_are_no_markdown(model, tmp_path):
  names = [
    "__init__",
    "<b>",
    "a`b",
    "line\nbreak",
    *model.class_names[4:],
  ]
  about = dataclasses.replace(model.description, class_names=tuple(names))
  model_card.write(about, tmp_path)
  card = (tmp_path / "README.md").read_text()
  for name in ("__init__", "<b>", "a'b", "line?break"):
    assert f"`{name}` (" in card


def test_a_folder_without_safetensors_is_told(tmp_path):
  with pytest.raises(ValueError, match="has no model.safetensors"):
    safetensors_file.read(tmp_path)


def test_every_format_has_a_use_in_the_card(exported):
  card = (exported / "README.md").read_text()
  for title in ("With blt_jax", "With JAX alone", "With TensorFlow"):
    assert f"\n{title}:\n" in card
  for file in set(model_card._USES) - {"model.onnx"}:
    assert (exported / file).exists()


def test_card_shows_accuracies_and_figures(exported, run):
  card = (exported / "README.md").read_text()
  results = directory.read_results(run)
  numbers = results["best"]["test"]
  cells = " | ".join(
    f"{numbers[group]:.1f}" for group in ("overall", "many", "medium", "few")
  )
  assert f"| test, top-1 | {cells} | {numbers['macro_f1']:.1f} |" in card
  ends = " | ".join(
    "-".join(f"{end:.1f}" for end in numbers["interval"][group])
    for group in ("overall", "many", "medium", "few")
  )
  assert f"| test, 95 % interval | {ends} |  |" in card
  assert "validation, 95 %" not in card
  pictures = re.findall(r"!\[[^]]*\]\((figures/\w+\.png)\)", card)
  assert "figures/class_accuracies.png" in pictures
  assert all((exported / picture).stat().st_size for picture in pictures)


def test_card_says_what_the_test_set_is(exported, model, tmp_path):
  card = (exported / "README.md").read_text()
  right = f"{model.description.accuracy['test']['accuracy']:.1f} %"
  assert (
    "- test set: balanced, 340 images: overall is about the share of images "
    f"that are right, {right}\n"
  ) in card
  about = dataclasses.replace(
    model.description,
    config={"dataset": {"prior": "my_shares.csv"}},
    test_set={**model.description.test_set, "classes": 8},
  )
  model_card.write(about, tmp_path)
  card = (tmp_path / "README.md").read_text()
  assert f"weighed as the prior says, {right} of the images" in card
  assert "- note: 2 of 10 classes have no test image" in card
  assert "- prior `my_shares.csv`: F1, accuracy over images" in card


@pytest.mark.parametrize("title", ["With blt_jax", "With JAX alone"])
def test_code_of_the_card_runs(exported, model, tmp_path, title):
  from PIL import Image

  card = (exported / "README.md").read_text()
  blocks = dict(re.findall(r"([^\n]*)\n\n```python\n(.*?)```", card, re.S))
  prepare = next(code for code in blocks.values() if "Image.open" in code)
  photo = export.sample_images(50)[3]
  Image.fromarray(photo).save(tmp_path / "photo.jpg", quality=95)
  program = prepare.replace("photo.jpg", str(tmp_path / "photo.jpg"))
  program += blocks[f"{title}:"] + "\nprint(np.argmax(logits, axis=1)[0])\n"
  finished = subprocess.run(
    [sys.executable, "-c", program],
    cwd=exported,
    env={"PYTHONPATH": str(ROOT), "PATH": "", "JAX_PLATFORMS": "cpu"},
    capture_output=True,
    text=True,
    check=False,
  )
  assert finished.returncode == 0, finished.stderr
  (found,) = predict.predictions_of(model, [str(tmp_path / "photo.jpg")])
  assert int(finished.stdout) == found.classes[0]


def with_metadata(exported, path, change):
  """A copy of model.safetensors with another description."""
  file = exported / "model.safetensors"
  about = json.loads((exported / "model.json").read_text())
  change(about)
  save_file(load_file(file), path, metadata={"blt_jax": json.dumps(about)})
  return path


@pytest.mark.parametrize(
  "field, value, message",
  [
    ("backbone", "resnet9", "backbone is 'resnet9'; expected one of"),
    ("backbone", "resnet10", "has shape"),
    ("alpha", "20", "alpha is '20'; expected a number above 0"),
    ("hidden", 10**12, "hidden is 1000000000000; expected a whole number"),
    ("hidden", 2**31 - 1, "has shape"),
    ("class_names", [], r"class_names is \[\]; expected a list with a text"),
    ("class_names", ["a"] * 11, "class_counts is .* expected 11 numbers"),
    ("image_size", 0, "image_size is 0; expected"),
    ("resize_size", 8, None),
    ("std", [0, 0, 0], "std is"),
    ("logit_offset", [0.5], "logit_offset is"),
    ("shares", [0.5], r"shares is \[0.5\]; expected 10 numbers"),
    ("shares", [-1.0] * 10, "shares is .* a number of at least 0 for each"),
    ("test_set", {"kind": "odd"}, "test_set is .* expected what results.json"),
    ("logit_offset", [0.5] * 10, None),
    ("image_size", 9, "resize_size is 8; expected at least image_size, 9"),
    ("accuracy", None, "accuracy is None; expected percent by split"),
    ("accuracy", {"test": {"overall": 5}}, "accuracy is .*; expected percent"),
    ("many_above", -1, "many_above is -1; expected a whole number from 0"),
    ("class_counts", "many", "class_counts is 'many'; expected"),
    ("format", 1, "has format 1; expected 2, which this version"),
    ("interpolation", "", "interpolation is ''; expected one of bilinear, bi"),
    ("classifier", "linear", "'fc.2.bias' is missing"),
  ],
)
def test_descriptions_of_strangers_are_checked(
  exported, tmp_path, field, value, message
):
  path = with_metadata(
    exported,
    tmp_path / "a.safetensors",
    lambda about: about.update({field: value}),
  )
  if message is None:
    found = safetensors_file.read(path).description.to_json()
    assert json.loads(json.dumps(found))[field] == value
    return
  with pytest.raises(ValueError, match=message) as error:
    safetensors_file.read(path)
  assert str(path) in str(error.value)


def test_weights_without_description_are_refused(exported, tmp_path):
  path = tmp_path / "a.safetensors"
  save_file(load_file(exported / "model.safetensors"), path)
  with pytest.raises(ValueError, match="does not say what network it is of"):
    safetensors_file.read(path)


def test_sample_images_are_real_and_differ():
  images = export.sample_images(32)
  assert images.shape == (16, 32, 32, 3)
  assert images.dtype == np.uint8
  assert len({image.tobytes() for image in images}) == 16
  assert images.std(axis=(1, 2)).min() > 5


@pytest.mark.parametrize(
  "backbone",
  [
    "resnet10",
    "densenet121",
    "efficientnet_b0",
    "tf_efficientnet_lite0",
    "vit_tiny_patch16_224",
    "convnext_atto",
  ],
)
def test_tensors_of_every_family_come_back(backbone, tmp_path):
  from blt_jax.models import create_model

  network = create_model(backbone, 3, classifier="linear", hidden=4)
  shapes = jax.eval_shape(
    lambda: network.init(
      jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32), train=False
    )
  )
  rng = np.random.default_rng(0)
  variables = {"batch_stats": {}} | jax.tree.map(
    lambda s: rng.normal(size=s.shape).astype(np.float32), shapes
  )
  tensors = torch_network.network_to_torchvision(backbone, variables)
  save_file(tensors, tmp_path / "a.safetensors")
  found = torch_network.network_from_safetensors(
    backbone, tmp_path / "a.safetensors", hidden=4, num_classes=3, bias=True
  )
  jax.tree.map(np.testing.assert_array_equal, found, variables)


def test_onnx_says_which_environment_it_needs(model, tmp_path):
  if importlib.util.find_spec("jax2onnx"):
    pytest.skip("jax2onnx is installed here")
  with pytest.raises(ImportError, match=r"pip install .*\[export\]"):
    export.export(model, tmp_path / "exported", names=["onnx"])
  assert not (tmp_path / "exported").exists()


# Small networks with the names of large ones: where those are, and settings.
SMALL = {
  "vit_tiny_patch16_224": (
    vit.CONFIGS,
    {"width": 16, "depth": 1, "patch": 8, "native_size": 32, "head_width": 8},
  ),
  "convnext_atto": (
    convnext.CONFIGS,
    {"depths": (1, 1), "filters": (8, 16), "conv_mlp": True},
  ),
  "tf_efficientnet_lite0": (
    efficientnet.CONFIGS,
    {
      "stages": (efficientnet.MBConvConfig(1, 16, size=5, strides=2),),
      "lite": True,
      "filters": 8,
      "features": 16,
    },
  ),
}


@contextlib.contextmanager
def small_model(name, **fields):
  """A small network of random weights, for images of 32 pixels."""
  about = bad_exports.ABOUT | {"backbone": name, "hidden": 0}
  about |= {"image_size": 32, "resize_size": 32, **fields}
  configs, small = SMALL[name]
  with network_of(configs, name, **small):
    model = TrainedModel(Description.from_json(about, source="here"), {})
    shapes = jax.eval_shape(
      lambda images: model.module().init(
        jax.random.key(0), images, train=False
      ),
      np.zeros((1, 32, 32, 3), np.float32),
    )
    rng = np.random.default_rng(0)

    def draw(path, leaf):
      values = rng.normal(size=leaf.shape).astype(np.float32)
      return np.exp(values) if path[-1].key == "var" else values

    variables = {"batch_stats": {}} | jax.tree.map_with_path(draw, shapes)
    yield dataclasses.replace(model, variables=variables)


@pytest.mark.parametrize("name", SMALL)
def test_programs_of_the_other_families(name, tmp_path):
  fields = {"adapter_width": 8} if name.startswith("vit_") else {}
  pixels = export.sample_images(32)[6:9]
  with small_model(name, **fields) as model:
    expected = model.logits(pixels)
    if fields:  # An adapter that got lost would be seen.
      other = with_fields(model, adapter_width=0).logits(pixels)
      assert np.abs(other - expected).min() > 0.01
    for module in (jax_program, saved_model):
      module.write(model, tmp_path)
      found = module.load(tmp_path)(pixels)
      np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("name", ["convnext_atto", "tf_efficientnet_lite0"])
def test_jax2onnx_does_not_see_the_convolutions_for_cpus(name, monkeypatch):
  # It puts its own call in the place of that of nn.Conv, and knows no
  # primitive that chooses by the platform.
  call = nn.Conv.__call__

  def without_ours(self, inputs):
    object.__setattr__(self, "conv_general_dilated", None)
    return call(self, inputs)

  pixels = export.sample_images(32)[:1]
  with small_model(name) as model:
    ours = str(jax.make_jaxpr(model.logits_of_pixels)(pixels))
    monkeypatch.setattr(nn.Conv, "__call__", without_ours)
    theirs = str(jax.make_jaxpr(lambda x: model.logits_of_pixels(x))(pixels))
  assert "platform_index" in ours
  assert "platform_index" not in theirs
  assert "custom_vjp" not in theirs


@pytest.fixture(scope="module")
def transformer():
  """A small vision transformer for images of 48 pixels; its own are of 32."""
  with small_model("vit_tiny_patch16_224") as model:
    yield with_fields(model, image_size=48, resize_size=48)


def test_programs_hold_resampled_position_embeddings(transformer):
  pixels = export.sample_images(48)
  # JAX's arrays are resampled by the program, at each call.
  others = TrainedModel(
    transformer.description, jax.tree.map(jnp.asarray, transformer.variables)
  )
  found, other = (
    jax.jit(each.logits_of_pixels).lower(pixels).as_text()
    for each in (transformer, others)
  )
  square = "tensor<1x4x4x16xf32>"
  assert square in other
  assert square not in found


def test_onnx_of_a_transformer_at_another_size(transformer, tmp_path):
  pytest.importorskip("jax2onnx")
  from blt_jax.deploy.formats import onnx_file

  pixels = export.sample_images(48)
  onnx_file.write(transformer, tmp_path)
  np.testing.assert_allclose(
    onnx_file.load(tmp_path)(pixels),
    jax.jit(transformer.logits_of_pixels)(pixels),
    atol=1e-5,
  )


def test_onnx_gives_the_same_logits(model, tmp_path):
  pytest.importorskip("jax2onnx")
  import onnx

  folder = tmp_path / "exported"
  export.export(model, folder, names=["safetensors", "onnx"])
  (metadata,) = onnx.load(folder / "model.onnx").metadata_props
  assert metadata.key == "blt_jax"
  assert json.loads(metadata.value) == json.loads(
    (folder / "model.json").read_text()
  )
