import jax
import numpy as np
import pytest

from blt_jax.config import check_config
from blt_jax.models import classifiers
from blt_jax.training import build, class_means, devices, resume
from blt_jax.training.class_means import Moments
from blt_jax.training.run import Run
from blt_jax.workdir.progress import Progress
from tests import small_run

LABELS = np.repeat([0, 1, 3], [9, 4, 2])


def some_features():
  rng = np.random.default_rng(0)
  features = rng.normal(size=(len(LABELS), 5)) + 0.5 * LABELS[:, None]
  features[:, 4] = 2.0  # It never varies.
  return features


def moments_of(features):
  sums = np.stack([features[c == LABELS].sum(0) for c in range(4)])
  counts = np.bincount(LABELS, minlength=4)
  return Moments(counts, sums, np.square(features).sum(0))


def test_a_linear_classifier_compares_standardised_directions():
  features = some_features()
  rng = np.random.default_rng(1)
  fresh = {"kernel": rng.normal(size=(5, 4)), "bias": rng.normal(size=4)}
  made = class_means.classifier(moments_of(features), fresh, is_linear=True)
  standard = (features - features.mean(0))[:, :4] / features.std(0)[:4]
  logits = features @ made["kernel"] + made["bias"][None]
  # 15 / 2 times length times cosine: of four places that vary.
  for c in (0, 1, 3):
    mean = standard[c == LABELS].mean(0)
    expected = 7.5 * standard @ mean / np.linalg.norm(mean)
    np.testing.assert_allclose(logits[:, c], expected, rtol=1e-4, atol=1e-4)
  # Class 2 has no images.
  np.testing.assert_allclose(made["kernel"][:, 2], fresh["kernel"][:, 2])
  np.testing.assert_allclose(made["bias"][2], fresh["bias"][2])
  assert {leaf.dtype for leaf in made.values()} == {np.dtype("f4")}


def test_a_cosine_classifier_compares_directions():
  features = some_features()
  fresh = {"kernel": np.random.default_rng(1).normal(size=(5, 4))}
  made = class_means.classifier(moments_of(features), fresh, is_linear=False)
  lengths = np.linalg.norm(made["kernel"], axis=0)
  np.testing.assert_allclose(lengths[[0, 1, 3]], np.sqrt(1 / 3), rtol=1e-6)
  np.testing.assert_allclose(made["kernel"][:, 2], fresh["kernel"][:, 2])
  logits = classifiers.SquashingCosine(4).apply({"params": made}, features)
  for c in (0, 1, 3):
    mean = features[c == LABELS].mean(0)
    norms = np.linalg.norm(features, axis=1)
    cosine = features @ mean / norms / np.linalg.norm(mean)
    expected = 20 * norms / (0.5 + norms) * cosine
    np.testing.assert_allclose(logits[:, c], expected, rtol=1e-4)


@pytest.fixture(scope="module")
def run():
  with small_run.one_block():
    config = small_run.make_config(
      model__hidden=0, model__classifier_init="class_means"
    )
    config.dataset.few_up_to = 4
    yield Run(check_config(config))


def test_a_stage_begins_with_the_means_of_the_training_images(run, capsys):
  state = build.init_state(run.config, run.model, 10)
  found, _ = resume.begin_stage(
    run, state, run.stages[0], None, None, progress=Progress()
  )
  line = "begins with the class means of 389 training images"
  assert line in capsys.readouterr().out
  features, labels = [], []
  normalize = build.build_normalize(run.config)
  apply = jax.jit(
    lambda x: run.model.apply(
      state.variables, normalize(x), train=False, method="features"
    )
  )
  for batch in run.feeder.once("training"):
    mask = batch.mask[0]
    features.append(np.asarray(apply(batch.image[0]))[mask])
    labels.append(batch.label[0][mask])
  features, labels = np.concatenate(features), np.concatenate(labels)
  kernel = np.asarray(found.params["classifier"]["kernel"])
  for c in range(10):
    mean = features[labels == c].mean(0)
    cosine = kernel[:, c] @ mean / np.linalg.norm(kernel[:, c])
    np.testing.assert_allclose(cosine / np.linalg.norm(mean), 1, rtol=1e-5)
  jax.tree.map(
    np.testing.assert_array_equal,
    found.params["backbone"],
    state.params["backbone"],
  )


def test_only_a_fresh_classifier_begins_so(run, monkeypatch):
  made = []
  monkeypatch.setattr(
    class_means, "begin", lambda run, state: made.append(1) or state
  )
  state = build.init_state(run.config, run.model, 10)
  for step, stage, begins in ((0, 0, True), (6, 0, False), (6, 1, True)):
    made.clear()
    placed = devices.place(state.replace(step=np.int32(step)), run.config)
    resume.begin_stage(
      run, placed, run.stages[stage], None, None, progress=Progress()
    )
    assert bool(made) == begins
