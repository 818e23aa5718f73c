import dataclasses
import importlib.util
import itertools
import math
import pathlib
import re

import ml_collections
import mypy.api
import pytest

from blt_jax.config import (
  SCHEMA,
  Config,
  check_config,
  check_used,
  config_dict,
  flatten,
  follow,
  with_values,
)
from blt_jax.config.rules import PATH, WEIGHTS
from blt_jax.config.schema import LOSSES
from blt_jax.config.unused import unused
from blt_jax.data.sources import (
  SOURCES,
  USED_FIELDS,
  Columns,
  SourceFiles,
)
from configs import common

ROOT = pathlib.Path(__file__).resolve().parents[1]
NAMES = sorted(
  path.stem
  for path in (ROOT / "configs").glob("*.py")
  if path.stem not in ("__init__", "common")
)


def _config(name="digits_lt", arg=None):
  return importlib.import_module(f"configs.{name}").get_config(arg)


def test_source_has_a_row_of_the_fields_that_it_uses():
  assert tuple(USED_FIELDS) == SOURCES
  used = {field for fields in USED_FIELDS.values() for field in fields}
  assert {f"dataset.{field}" for field in used} <= SCHEMA.keys()
  for kind in (SourceFiles, Columns):
    assert {field.name for field in dataclasses.fields(kind)} <= used


@pytest.mark.parametrize("name", NAMES)
def test_configuration_sets_no_field_that_its_source_ignores(name):
  check_used(check_config(_config(name)), SCHEMA)


@pytest.mark.parametrize(
  ("arg", "values", "reason"),
  [
    ("method=neither", {"perturb.p": 0.5}, "no stage hallucinates"),
    ("method=blt", {"perturb.p": 0.5}, None),
    ("method=blt", {"perturb.p": 0.5, "stage2.epochs": 0}, "no stage halluc"),
    ("method=augmentations", {"perturb.step_size": 1}, "max_steps is 0"),
    ("method=augmentations", {"perturb.crop_scale": (0.5, 1)}, None),
    ("method=sampling", {"model.alpha": 10}, "the classifier is linear"),
    ("method=blt", {"model.beta": 1}, None),
    ("method=blt", {"model.focal_gamma": 1}, "the loss is not focal"),
    ("method=blt,loss=focal", {"model.focal_gamma": 1}, None),
    ("method=blt", {"model.ldam_scale": 10}, "the loss is not ldam"),
    ("method=blt", {"model.class_balanced_beta": 0.9}, "no class has a"),
    ("method=blt,reweight=2", {"model.class_balanced_beta": 0.9}, None),
    ("method=blt", {"model.logit_adjustment_tau": 2}, "not logit_adjustm"),
    ("method=plain", {"stage2.gamma": 0.5}, "stage2.balanced is False"),
    ("method=blt", {"stage1.gamma": 0.5}, "stage1.balanced is False"),
    ("method=blt", {"stage1.epochs": 0, "stage1.batch_size": 8}, "s is 0"),
    ("method=blt", {"stage1.epochs": 0, "stage1.patience": 3}, "s is 0"),
    ("method=blt", {"stage2.epochs": 4, "stage2.patience": 3}, "are over"),
    ("method=neither", {"perturb.p": SCHEMA["perturb.p"].default}, None),
    ("method=blt", {"optimizer.momentum": 0.8}, None),
    (
      "method=blt",
      {"optimizer.name": "adamw", "optimizer.momentum": 0.8},
      "optimizer.name is adamw",
    ),
    ("method=blt", {"stage1.drop_epochs": (3,)}, None),
    (
      "method=blt",
      {"optimizer.schedule": "cosine", "stage2.drop_epochs": (3,)},
      "optimizer.schedule is cosine",
    ),
    (
      "method=blt",
      {
        "optimizer.layer_decay": 0.5,
        "stage1.epochs": 0,
        "stage2.backbone_rate": 0.0,
      },
      "no block is trained",
    ),
    (
      "method=blt",
      {"perturb.confidence": (0.3, 0.4), "perturb.confidence_choices": (0.2,)},
      "perturb.confidence_choices has the values to draw",
    ),
  ],
)
def test_field_without_effect_is_announced(arg, values, reason):
  config = with_values(check_config(_config(arg=arg)), values)
  lines = unused(config, values)
  assert len(lines) == (reason is not None)
  if reason:
    assert reason in lines[0]
    (field,) = (name for name in values if f"config.{name} is" in lines[0])
    assert repr(flatten(config)[field]) in lines[0]


@pytest.mark.parametrize("source", SOURCES)
def test_field_that_a_source_ignores_is_refused(source):
  config = config_dict()
  config.dataset.name, config.dataset.source = "mine", source
  values = {"root": "r", "train_list": "t", "group": "g", "on_error": "stop"}
  for field, value in values.items():
    config.dataset[field] = value
  ignored = [field for field in values if field not in USED_FIELDS[source]]
  checked = check_config(config)
  for field in values:
    name = f"dataset.{field}"
    if field not in ignored:
      check_used(checked, [name])
      continue
    message = (
      f"config.{name} is {values[field]!r}; expected {SCHEMA[name].default!r} "
      f"with config.dataset.source {source}, which does not use it: it is for "
    )
    with pytest.raises(ValueError, match=re.escape(message)):
      check_used(checked, [name])


def test_the_promised_configs_exist():
  assert set(NAMES) >= {
    "imagenet_lt",
    "places_lt",
    "inaturalist2018",
    "cifar10_lt",
    "cifar100_lt",
    "digits_lt",
    "image_folder",
    "image_list",
  }


@pytest.mark.parametrize("name", NAMES)
def test_every_config_passes_its_check(name):
  check_config(_config(name))


@pytest.mark.parametrize("name", NAMES)
def test_docstring_gives_the_command(name):
  text = importlib.import_module(f"configs.{name}").__doc__
  assert f"python main.py --config=configs/{name}.py" in text


@pytest.mark.parametrize("name", NAMES)
def test_commands_of_a_docstring_are_not_cut_off(name):
  lines = importlib.import_module(f"configs.{name}").__doc__.splitlines()
  for before, line in itertools.pairwise(lines):
    if line.strip().startswith("--"):
      assert before.endswith("\\"), line
    assert not before.endswith("\\") or line.strip().startswith("--"), before


def test_defaults_are_the_papers():
  config = Config()
  assert (config.stage1.epochs, config.stage2.epochs) == (35, 55)
  assert config.stage1.drop_epochs == (25, 32)
  assert config.stage2.drop_epochs == (23, 38, 52)
  assert (config.stage1.backbone_rate, config.stage1.classifier_rate) == (
    0.1,
    0.1,
  )
  assert (config.stage2.backbone_rate, config.stage2.classifier_rate) == (
    0.01,
    0.1,
  )
  assert (config.model.alpha, config.model.beta) == (20, 0.5)
  assert (config.perturb.p, config.stage2.gamma) == (0.25, 0.9)
  assert config.perturb.confidence == (0.15, 0.25)
  assert (config.perturb.step_size, config.perturb.max_steps) == (0.7, 15)
  assert config.perturb.momentum == 0
  assert (config.optimizer.momentum, config.optimizer.weight_decay) == (
    0.9,
    5e-4,
  )


def test_every_field_has_a_line_of_help():
  for name, field in SCHEMA.items():
    assert re.fullmatch(r"\w.{3,}[.]", field.help), name


def test_defaults_pass_their_rules_but_for_the_data_set():
  wrong = [n for n, f in SCHEMA.items() if not f.rule.accepts(f.default)]
  # The last ones follow from other fields.
  following = [
    f"dataset.{name}"
    for name in ("resize_size", "interpolation", "mean", "std")
  ]
  assert wrong == ["dataset.name", "dataset.source", *following]
  assert [SCHEMA[name].left_open for name in following] == [0, "", (), ()]


def test_config_dict_is_a_copy_that_can_be_changed():
  config = config_dict()
  config.perturb.p = 1.0
  assert isinstance(config, ml_collections.ConfigDict)
  assert config_dict().perturb.p == 0.25


def test_checked_config_has_the_types_of_the_schema():
  given = _config().to_dict()
  given["perturb"] |= {"p": 1, "confidence": [0.1, 0.3]}
  config = check_config(given)
  assert (type(config.perturb.p), config.perturb.p) == (float, 1.0)
  assert config.perturb.confidence == (0.1, 0.3)
  assert check_config(config_dict(config)) == config
  assert flatten(config)["perturb.confidence"] == [0.1, 0.3]


def test_checked_config_can_not_be_changed():
  config = check_config(_config())
  with pytest.raises(dataclasses.FrozenInstanceError):
    config.perturb.p = 1.0


# How the library calls the sections of a configuration.
ALIASES = {
  "": r"config",
  # training/build makes SourceFiles, SplitOptions and Columns of it.
  "dataset": r"(?:dataset|files|options|columns)",
  "model": r"model",
  "optimizer": r"optimizer",
  "perturb": r"perturb",
  "checkpoint": r"checkpoint",
  "stage1": r"(?:stage1|section|stage\.config)",
  "stage2": r"(?:stage2|section|stage\.config)",
}


def test_every_field_is_read():
  text = "\n".join(
    path.read_text()
    for path in (ROOT / "blt_jax").rglob("*.py")
    if path.parent.name != "config"
  )
  for name in SCHEMA:
    section, _, field = name.rpartition(".")
    attribute = rf"\b{ALIASES[section]}\.{field}\b"
    by_name = rf'\({ALIASES[section]}, "{field}"\)|files\.path\("{field}"\)'
    assert re.search(f"{attribute}|{by_name}", text), name


METHODS = {
  "plain": ("linear", False, False),
  "sampling": ("linear", True, False),
  "blt": ("squashing_cosine", True, True),
  "blt_softmax": ("linear", True, True),
  "blt_entire_batch": ("squashing_cosine", True, True),
  "blt_uniform": ("squashing_cosine", True, True),
  "augmentations": ("squashing_cosine", True, True),
  "neither": ("squashing_cosine", True, False),
  "static_targeted": ("squashing_cosine", True, True),
  "static_random": ("squashing_cosine", True, True),
}


def test_methods_have_a_row_each():
  assert set(METHODS) == set(common.METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_method_sets_classifier_sampler_and_perturbation(method):
  config = _config(arg=f"method={method}")
  assert config.method == method
  assert (
    config.model.classifier,
    config.stage2.balanced,
    config.stage2.perturb,
  ) == METHODS[method]
  assert not config.stage1.balanced
  assert not config.stage1.perturb
  check_config(config)


def test_methods_differ_where_the_paper_says():
  assert _config(arg="method=blt_entire_batch").perturb.classes == "all"
  assert _config(arg="method=blt_uniform").stage2.gamma == 0
  assert _config(arg="method=augmentations").perturb.max_steps == 0
  static = _config(arg="method=static_random").perturb
  assert (static.static, static.targets) == (True, "random")
  assert _config(arg="method=static_targeted").perturb.targets == "confusion"


def test_variants_of_single_values():
  config = _config(
    arg="batch=64,lr=small,p=0.5,gamma=1.1,alpha=15,beta=1,momentum=1,"
    "backbone=resnet18,seed=9,confidence=0.2"
  )
  assert config.stage1.batch_size == config.stage2.batch_size == 64
  assert math.isclose(config.stage1.backbone_rate, 0.01)
  assert math.isclose(config.stage2.backbone_rate, 0.001)
  assert math.isclose(config.stage2.classifier_rate, 0.01)
  assert (config.perturb.p, config.stage2.gamma) == (0.5, 1.1)
  assert (config.model.alpha, config.model.beta) == (15, 1)
  assert (config.perturb.momentum, config.seed) == (1, 9)
  assert config.model.backbone == "resnet18"
  assert config.perturb.confidence == (0.2, 0.2)
  check_config(config)


def test_confidence_range():
  assert _config(arg="confidence=0.1-0.3").perturb.confidence == (0.1, 0.3)


def test_release_preset_takes_the_authors_sound_choices():
  config = _config(arg="preset=release")
  assert config.model.alpha == 16
  assert config.perturb.momentum == 1
  assert config.perturb.rounding == "floor"
  assert config.perturb.confidence_choices == (0.15, 0.2, 0.25)
  check_config(config)


def test_tuned_preset_is_the_best_of_the_search():
  config = _config(arg="preset=tuned")
  assert config.model.alpha == 10
  assert config.perturb.p == 0.5
  assert config.perturb.momentum == 1
  assert config.perturb.confidence == (0.3, 0.5)
  check_config(config)


def test_single_values_win_over_presets_wherever_they_stand():
  assert _config(arg="alpha=18,preset=release").model.alpha == 18


@pytest.mark.parametrize(
  "arg, message",
  [
    ("foo=1", "'foo=1' is not known; expected key=value with a key of method"),
    ("method", "'method' is not known; expected key=value"),
    ("method=bar", "method is 'bar'; expected one of plain, sampling"),
    ("preset=new", "preset is 'new'; expected one of default, release, tuned"),
    ("lr=large", "lr is 'large'; expected base or small"),
    ("batch=many", "batch is 'many'; expected a whole number"),
    ("p=half", "p is 'half'; expected a number"),
    ("confidence=0.1-x", "confidence is 'x'; expected a number"),
    ("seed=1,seed=2", "seed is given twice; expected it once"),
  ],
)
def test_bad_variant_is_refused(arg, message):
  with pytest.raises(ValueError, match=re.escape(message)):
    _config(arg=arg)


@pytest.mark.parametrize(
  "field, value, message",
  [
    ("stage1.backbone_rate", math.nan, "nan; expected a number of at least 0"),
    ("stage2.backbone_rate", -0.1, "-0.1; expected a number of at least 0"),
    ("stage2.gamma", math.inf, "inf; expected a number"),
    ("optimizer.name", "adam", "'adam'; expected one of sgd, adamw"),
    ("optimizer.schedule", "", "''; expected one of steps, cosine"),
    ("optimizer.layer_decay", 0.0, "0.0; expected a number above 0 and at mo"),
    ("optimizer.ema", 1.0, "1.0; expected a number of at least 0 and at most"),
    ("stage1.epochs", -1, "-1; expected a whole number from 0"),
    ("stage1.batch_size", 0, "0; expected a whole number from 1"),
    ("stage2.drop_epochs", (5, 3), "expected epochs in rising order"),
    ("perturb.p", 1.5, "1.5; expected a number of at least 0 and at most 1"),
    ("perturb.confidence", (0.3, 0.2), "low not above high"),
    ("perturb.confidence", (0.1,), "(low, high)"),
    ("perturb.rounding", "up", "'up'; expected one of ceil, floor"),
    ("perturb.start_epoch", 0, "0; expected a whole number from 1"),
    ("model.backbone", "resnet7", "'resnet7'; expected one of resnet10"),
    ("model.classifier", "cos", "expected one of squashing_cosine, linear"),
    ("model.alpha", 0.0, "0.0; expected a number above 0"),
    ("model.loss", "hinge", "'hinge'; expected one of cross_entropy, focal"),
    ("model.focal_gamma", -1.0, "-1.0; expected a number of at least 0"),
    ("model.class_balanced_beta", 1.5, "1.5; expected a number of at least 0"),
    ("model.logit_adjustment_tau", math.nan, "nan; expected a number of"),
    ("model.ldam_max_margin", -0.5, "-0.5; expected a number of at least 0"),
    ("model.ldam_scale", 0.0, "0.0; expected a number above 0"),
    ("model.reweight_epoch", -1, "-1; expected a whole number from 0"),
    ("model.posthoc_tau", math.inf, "inf; expected a number of at least 0"),
    ("model.dtype", "float16", "expected one of float32, bfloat16"),
    ("dataset.source", "http", "expected one of digits, tfds, npz, image_"),
    ("dataset.profile", "zipf", "expected one of natural, exponential, step"),
    ("dataset.std", (1.0, 0.0, 1.0), "expected (3 values, each a number above"),
    ("dataset.crop_scale", (0.0, 1.0), "expected (low, high)"),
    ("dataset.few_up_to", 200, "expected at most config.dataset.many_above"),
    ("dataset.resize_size", 8, "image_size, 16, or 0 to follow it"),
    ("dataset.interpolation", "lanczos", "one of bilinear, bicubic, or '' to"),
    ("seed", -1, "-1; expected a whole number from 0"),
  ],
)
def test_bad_value_is_refused_by_name(field, value, message):
  config = _config()
  section, _, name = field.rpartition(".")
  (config[section] if section else config)[name] = value
  with pytest.raises(ValueError, match=re.escape(message)) as error:
    check_config(config)
  assert f"config.{field} is" in str(error.value)


@pytest.mark.parametrize(
  "backbone, size, message",
  [
    (
      "vit_small_patch14_dinov2",
      160,
      "expected 154 or 168, multiples of the 14 pixels of a patch, with config."
      "model.backbone vit_small_patch14_dinov2.",
    ),
    ("vit_tiny_patch16_224", 8, "expected 16, multiples of the 16 pixels"),
    ("convnext_atto", 28, "expected 32 or more, with config.model.backbone"),
  ],
)
def test_images_that_a_backbone_does_not_take_are_refused(
  backbone, size, message
):
  config = _config()
  config.model.backbone = backbone
  config.dataset.image_size = size
  config.dataset.resize_size = 0
  with pytest.raises(ValueError, match=re.escape(message)) as error:
    check_config(config)
  assert f"config.dataset.image_size is {size}" in str(error.value)


def test_device_does_not_resize_bicubic():
  config = _config()
  config.dataset.resize_on, config.dataset.interpolation = "device", "bicubic"
  with pytest.raises(ValueError, match="resize_on is 'device'; expected host"):
    check_config(config)
  config.dataset.interpolation = ""
  check_config(config)


def test_five_equal_crops_are_refused():
  config = _config()
  config.dataset.five_crop = True
  with pytest.raises(ValueError, match="five_crop is True; expected False wi"):
    check_config(config)
  config.dataset.resize_size = 0  # It follows image_size, and is larger.
  assert follow(check_config(config)).dataset.five_crop


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_passes_the_check(loss):
  config = _config()
  config.model.loss = loss
  check_config(config)


@pytest.mark.parametrize(
  "loss, field, value",
  [
    ("focal", "margin", 0.5),
    ("ldam", "margin", 0.5),
    ("class_balanced", "reweight_epoch", 4),
    ("balanced_softmax", "reweight_epoch", 4),
    ("logit_adjustment", "posthoc_tau", 1.0),
    ("ldam", "posthoc_tau", 1.0),
  ],
)
def test_what_does_not_go_with_a_loss_is_refused(loss, field, value):
  config = _config()
  config.model.loss = loss
  config.model[field] = value
  message = f"{field} is {value}; expected 0 with config.model.loss {loss}"
  with pytest.raises(ValueError, match=re.escape(message)):
    check_config(config)


@pytest.mark.parametrize("loss", ["cross_entropy", "focal", "ldam"])
def test_deferred_weights_go_with_losses_that_know_none(loss):
  config = _config()
  config.model.loss, config.model.reweight_epoch = loss, 4
  check_config(config)


def test_frequencies_are_not_corrected_twice():
  config = _config()
  config.model.posthoc_tau, config.model.reweight_epoch = 1.0, 4
  with pytest.raises(ValueError, match="posthoc_tau is 1.0; expected 0 with "):
    check_config(config)


def test_scale_of_cosines_is_refused_for_a_linear_classifier():
  config = _config(arg="method=plain")
  config.model.loss = "ldam"
  with pytest.raises(ValueError, match=r"ldam_scale is 30\.0; expected 1 with"):
    check_config(config)
  config.model.ldam_scale = 1.0
  check_config(config)


def test_true_is_no_number():
  config = _config().to_dict()
  config["stage1"]["epochs"] = True
  with pytest.raises(ValueError, match="config.stage1.epochs is True"):
    check_config(ml_collections.ConfigDict(config))


def test_warmup_that_is_longer_than_a_stage_is_refused():
  config = _config()
  config.stage1.epochs, config.stage2.epochs = 0, 2
  config.optimizer.warmup_epochs = 2
  check_config(config)
  config.optimizer.warmup_epochs = 2.5
  message = r"warmup_epochs is 2\.5; expected at most config\.stage2\.epochs, 2"
  with pytest.raises(ValueError, match=message):
    check_config(config)


def test_no_epochs_at_all_are_refused():
  config = _config()
  config.stage1.epochs = config.stage2.epochs = 0
  with pytest.raises(ValueError, match="are both 0"):
    check_config(config)


def test_static_images_need_stage_1():
  config = _config(arg="method=static_random")
  config.stage1.epochs = 0
  with pytest.raises(ValueError, match="config.stage1.epochs is 0"):
    check_config(config)


def test_static_images_need_an_unperturbed_stage_1():
  config = _config(arg="method=static_targeted")
  config.stage1.perturb = True
  with pytest.raises(ValueError, match="config.stage1.perturb is True"):
    check_config(config)


def test_unknown_and_missing_fields_are_refused_by_name():
  config = _config().to_dict()
  config["perturb"]["steps"] = 3
  with pytest.raises(ValueError, match="config.perturb.steps is not a known"):
    check_config(ml_collections.ConfigDict(config))
  del config["perturb"]["steps"], config["perturb"]["p"]
  with pytest.raises(ValueError, match="config.perturb.p is missing"):
    check_config(ml_collections.ConfigDict(config))


def test_page_of_the_docs_is_what_the_schema_says():
  spec = importlib.util.spec_from_file_location(
    "make_configuration", ROOT / "docs" / "make_configuration.py"
  )
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  assert module.PAGE.read_text() == module.make_page()


def test_mypy_knows_the_fields(tmp_path):
  program = tmp_path / "program.py"
  program.write_text(
    "from blt_jax.config.schema import Config\n"
    "def right(config: Config) -> float:\n  return config.perturb.p\n"
    "def wrong(config: Config) -> float:\n  return config.pertrub.p\n"
    "def other(config: Config) -> str:\n  return config.perturb.p\n"
  )
  schema = ROOT / "blt_jax" / "config"
  out, _, code = mypy.api.run(
    [
      "--config-file=",
      "--explicit-package-bases",
      "--follow-imports=skip",
      "--ignore-missing-imports",
      f"--cache-dir={tmp_path / 'cache'}",
      *(str(schema / f"{name}.py") for name in ("schema", "rules")),
      str(program),
    ]
  )
  assert code == 1
  assert [line.partition(": ")[2] for line in out.splitlines()[:-1]] == [
    'error: "Config" has no attribute "pertrub"; maybe "perturb"?  '
    "[attr-defined]",
    'error: Incompatible return value type (got "float", expected "str")  '
    "[return-value]",
  ]


PATHS = [
  name for name, field in SCHEMA.items() if field.rule in (PATH, WEIGHTS)
]


def test_tilde_in_a_path_is_the_home_folder(monkeypatch):
  assert len(PATHS) == 10
  monkeypatch.setenv("HOME", "/people")
  config = with_values(check_config(_config()), dict.fromkeys(PATHS, "~/a"))
  flat = flatten(config)
  assert {flat[name] for name in PATHS} == {"/people/a"}


@pytest.mark.parametrize("value", ["~no.body/a", "a\0b", 3])
def test_what_is_no_path_is_refused(value):
  config = check_config(_config())
  with pytest.raises(ValueError, match="expected a path, where ~ or ~USER is"):
    with_values(config, {"dataset.root": value})
