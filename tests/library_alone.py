"""A program for wheel_test.py: the library where no extra is installed."""

import importlib.abc
import sys

import pytest

# What the extras bring. jax itself requires scipy, and optax absl-py.
EXTRAS = {
  "PIL",
  "array_record",
  "clu",
  "matplotlib",
  "ml_collections",
  "orbax",
  "safetensors",
  "sklearn",
  "tensorboard",
  "tensorflow",
  "tensorflow_datasets",
  "tqdm",
}


class NotInstalled(importlib.abc.MetaPathFinder):
  def find_spec(self, name, path=None, target=None):
    if name.partition(".")[0] in EXTRAS:
      raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, NotInstalled())

import blt_jax  # noqa: E402

assert "jax" not in sys.modules
for name in set(blt_jax.__all__) - {"train"}:
  assert getattr(blt_jax, name)
with pytest.raises(ImportError, match="pip install .*train"):
  blt_jax.train  # noqa: B018

import jax  # noqa: E402
import numpy as np  # noqa: E402

model = blt_jax.create_model("small_resnet10", 4)
images = np.linspace(0, 1, 2 * 8 * 8 * 3, dtype=np.float32).reshape(2, 8, 8, 3)
shapes = jax.eval_shape(
  lambda rng: model.init(rng, images, train=False), jax.random.key(1)
)
assert shapes["params"]["classifier"]["kernel"].shape == (512, 4)
moved = blt_jax.perturb_images(
  lambda x: x.mean((1, 2)), images, np.array([1, 2]), np.array([0.5, 0.5])
)
assert isinstance(moved, blt_jax.PerturbResult)
assert moved.images.shape == images.shape
confusion = blt_jax.confusion.confusion_matrix(
  np.array([0, 1, 1]), np.array([1, 1, 0]), 2
)
targets, known = blt_jax.confusion.sample_confusing_classes(
  jax.random.key(2), confusion, np.array([0, 1])
)
assert targets.tolist() == [1, 0]
assert known.all()
counts = blt_jax.longtail.exponential_counts(50, 10, 3)
assert blt_jax.longtail.shot_groups(counts)["few"].any()
assert abs(blt_jax.sampling.class_probabilities(counts, 0.9).sum() - 1) < 1e-6
tail = np.array([False, True, True])
assert blt_jax.sampling.capacity(counts, tail, gamma=0.9, p=0.5, batch_size=32)
matrix = np.diag(counts)
assert blt_jax.metrics.shot_accuracies(matrix, counts)["overall"] == 100
assert np.isfinite(blt_jax.losses.cross_entropy(np.eye(3), np.arange(3))).all()
images = np.zeros((90, 8, 8, 3), np.uint8)
data = blt_jax.sources.from_arrays(
  images,
  np.arange(90) % 3,
  test_images=images,
  test_labels=np.arange(90) % 3,
  options=blt_jax.sources.SplitOptions(validation_per_class=5),
)
assert len(data.train) == 75
weights = {
  name: np.ones(shape, np.float32)
  for name, shape in blt_jax.convert.torch_names.torch_shapes(
    "small_resnet10"
  ).items()
}
assert blt_jax.convert.backbone_from_torchvision("small_resnet10", weights)
logits = blt_jax.SquashingCosine(2).apply(
  {"params": {"kernel": np.eye(2)}}, np.ones((1, 2))
)
assert logits.shape == (1, 2)
with pytest.raises(ImportError, match="pip install"):
  blt_jax.load("model.safetensors")
print("everything works")
