"""TFDS data sets in record files: only the named records are read."""

import io
import os
import tarfile
import warnings

import numpy as np
import pytest
from PIL import Image

from blt_jax.data import input_pipeline, sampling, sources
from blt_jax.data.dataset import Selection, Split
from blt_jax.data.sources import tfds as tfds_source
from blt_jax.training import build
from configs import imagenet_lt

# TFDS's own deprecations.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def tfds():
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("array_record.python.array_record_module")
    return pytest.importorskip("tensorflow_datasets")


def _image(number):
  """An image that tells which one it is, of a size of its own."""
  return np.full((8 + number % 3, 9, 3), number, np.uint8)


def _number(data):
  pixels = np.asarray(Image.open(io.BytesIO(data)))
  assert pixels.shape == _image(int(pixels[0, 0, 0])).shape
  return int(pixels[0, 0, 0])


def _examples(numbers):
  return [(i, {"image": _image(i), "label": i % 3}) for i in numbers]


def _store(tfds, data_dir, *, splits=None, name="tiny", **options):
  """Stores a small data set with TFDS's own tools, images of many sizes."""
  features = tfds.features.FeaturesDict(
    {
      "image": tfds.features.Image(encoding_format="png"),
      "label": tfds.features.ClassLabel(names=["plane", "car", "bird"]),
    }
  )
  splits = splits or {
    "train": range(30),
    "validation": range(30, 36),
    "test": range(36, 45),
  }
  return tfds.dataset_builders.store_as_tfds_dataset(
    name=name,
    version="1.0.0",
    features=features,
    split_datasets={
      split: _examples(numbers) for split, numbers in splits.items()
    },
    data_dir=str(data_dir),
    **{"file_format": "array_record", "disable_shuffling": True, **options},
  )


@pytest.fixture(scope="module")
def data_dir(tfds, tmp_path_factory):
  folder = tmp_path_factory.mktemp("tfds")
  _store(tfds, folder)
  return folder


@pytest.fixture
def reads(monkeypatch):
  """Every position that is read from a record file, in order."""
  from array_record.python import array_record_data_source

  seen = []
  reader = array_record_data_source.ArrayRecordDataSource.__getitems__

  def getitems(self, keys):
    seen.extend(keys)
    return reader(self, keys)

  monkeypatch.setattr(
    array_record_data_source.ArrayRecordDataSource, "__getitems__", getitems
  )
  return seen


def _load(data_dir, **options):
  return sources.load_tfds(
    "tiny",
    data_dir=str(data_dir),
    options=sources.SplitOptions(**options),
  )


def _builder(data_dir):
  return tfds_source.prepared_builder(
    "tiny", data_dir=str(data_dir), manual_dir=None
  )


def test_official_splits_stay_and_class_names_come_along(data_dir):
  dataset = _load(data_dir)
  assert dataset.class_names == ("plane", "car", "bird")
  np.testing.assert_array_equal(dataset.class_counts, [10, 10, 10])
  np.testing.assert_array_equal(np.bincount(dataset.validation.labels), 3 * [2])
  np.testing.assert_array_equal(np.bincount(dataset.test.labels), 3 * [3])
  assert dataset.train.images is None


def test_records_are_the_encoded_images_in_the_order_asked_for(data_dir):
  split = _load(data_dir).test
  data = split.records.read(np.array([8, 0, 3, 0]))
  assert [_number(encoded) for encoded in data] == [44, 36, 39, 36]
  assert data[0].startswith(b"\x89PNG")


def test_labels_belong_to_the_records(data_dir):
  split = _load(data_dir).train
  numbers = [_number(data) for data in split.records.read(np.arange(30))]
  np.testing.assert_array_equal(np.array(numbers) % 3, split.labels)


def test_only_the_named_records_are_read(data_dir, reads):
  _load(data_dir)  # Keeps the labels.
  reads.clear()
  train = _load(data_dir).train
  assert reads == []
  train.take(np.array([7, 29, 11])).records.read(np.array([2, 0]))
  assert sorted(reads) == [7, 11]


def test_training_reads_exactly_what_the_plan_names(data_dir, reads):
  _load(data_dir)  # Keeps the labels.
  train = _load(data_dir, profile="exponential", imbalance=5).train
  plan = sampling.epoch_plan(
    train.labels, seed=0, stage=1, epoch=0, batch_size=4
  ).tail(2)
  reads.clear()
  batches = list(input_pipeline.train_batches(train, plan, image_size=8))
  rows = plan.indices.ravel()
  assert sorted(reads) == sorted(train.records.indices[rows].tolist())
  numbers = np.concatenate([batch.image[:, 0, 0, 0] for batch in batches])
  np.testing.assert_array_equal(numbers, train.records.indices[rows])


def test_kept_labels_equal_the_read_ones(tfds, tmp_path, reads):
  _store(tfds, tmp_path)
  first = _load(tmp_path)
  assert sorted(reads) == sorted([*range(30), *range(6), *range(9)])
  reads.clear()
  second = _load(tmp_path)
  assert reads == []
  np.testing.assert_array_equal(first.train.labels, second.train.labels)


def test_labels_are_read_in_blocks(data_dir, reads):
  records = _load(data_dir).train.records
  reads.clear()
  labels = records.labels(at_once=7)
  np.testing.assert_array_equal(labels, np.arange(30) % 3)
  assert reads == list(range(30))


def test_kept_labels_that_do_not_fit_are_read_anew(tfds, tmp_path):
  folder = _store(tfds, tmp_path).data_dir
  for wrong in (np.zeros(3, np.int32), np.zeros(30, np.float64)):
    np.save(os.path.join(folder, "labels-train.npy"), wrong)
    np.testing.assert_array_equal(_load(tmp_path).class_counts, [10, 10, 10])


@pytest.mark.parametrize("step", ["open", "replace"])
def test_labels_need_not_be_kept(tfds, tmp_path, monkeypatch, step):
  folder = _store(tfds, tmp_path).data_dir
  before = sorted(os.listdir(folder))

  def refuse(*_):
    raise PermissionError("read-only file system")

  holder = {"open": tfds_source, "replace": tfds_source.os}[step]
  with monkeypatch.context() as patch:
    patch.setattr(holder, step, refuse, raising=False)
    np.testing.assert_array_equal(_load(tmp_path).class_counts, [10, 10, 10])
  assert sorted(os.listdir(folder)) == before


def test_validation_is_held_out_where_there_is_no_such_split(tfds, tmp_path):
  _store(tfds, tmp_path, splits={"train": range(12), "test": range(12, 15)})
  dataset = _load(tmp_path, validation_per_class=1)
  np.testing.assert_array_equal(dataset.class_counts, [3, 3, 3])
  numbers = [
    _number(data)
    for split in (dataset.train, dataset.validation)
    for data in split.records.read(np.arange(len(split)))
  ]
  assert sorted(numbers) == list(range(12))


def test_records_by_profile(data_dir):
  dataset = _load(data_dir, profile="exponential", imbalance=5)
  np.testing.assert_array_equal(dataset.class_counts, [10, 4, 2])
  numbers = [
    _number(data) for data in dataset.train.records.read(np.arange(16))
  ]
  np.testing.assert_array_equal(np.array(numbers) % 3, dataset.train.labels)


def test_many_record_files_count_as_one(tfds, tmp_path):
  folder = _store(
    tfds,
    tmp_path,
    download_config=tfds.download.DownloadConfig(num_shards=4),
  ).data_dir
  assert len([f for f in os.listdir(folder) if "train.array_record" in f]) == 4
  split = _load(tmp_path).train
  data = split.records.read(np.array([29, 0, 15]))
  assert [_number(encoded) for encoded in data] == [29, 0, 15]


def test_data_set_without_random_access_says_what_to_do(tfds, tmp_path):
  _store(tfds, tmp_path, file_format="tfrecord")
  with pytest.raises(
    ValueError, match="'tiny' is prepared in .* as tfrecord, .*array_record"
  ):
    _load(tmp_path)


def test_unknown_split_is_named(data_dir):
  with pytest.raises(ValueError, match="split 'nosuch' can't be opened"):
    tfds_source.TfdsRecords(_builder(data_dir), "nosuch")


def test_hidden_labels_are_named(tfds, tmp_path):
  folder = _store(tfds, tmp_path).data_dir
  labels = np.array([0, 1, -1] * 3, np.int32)
  np.save(os.path.join(folder, "labels-test.npy"), labels)
  with pytest.raises(
    ValueError, match="split 'test', record 2: label is -1; expected 0 to 2"
  ):
    _load(tmp_path)


def test_lost_record_files_are_named(tfds, tmp_path):
  folder = _store(tfds, tmp_path).data_dir
  _load(tmp_path)  # Keeps the labels.
  train = _load(tmp_path).train
  for file in os.listdir(folder):
    if "train.array_record" in file:
      os.remove(os.path.join(folder, file))
  with pytest.raises(ValueError, match=r"split 'train': records \[4\].* can't"):
    train.records.read(np.array([4]))


def test_features_that_are_missing_are_named(tfds, tmp_path):
  tfds.dataset_builders.store_as_tfds_dataset(
    name="text",
    version="1.0.0",
    features=tfds.features.FeaturesDict({"text": tfds.features.Text()}),
    split_datasets={"train": [(0, {"text": "a"})]},
    data_dir=str(tmp_path),
  )
  with pytest.raises(ValueError, match="no feature 'image' of type Image"):
    sources.load_tfds("text", data_dir=str(tmp_path))


def test_manual_archives_are_asked_for(tfds, tmp_path):
  with pytest.raises(
    ValueError,
    match="(?s)'imagenet_lt' is not av.*here does not.*ILSVRC2012_img_t",
  ):
    sources.load_tfds(
      "imagenet_lt",
      data_dir=str(tmp_path / "data"),
      manual_dir=str(tmp_path / "here"),
    )


# Split and Selection


class _Numbers:
  """Records whose content is their position; remembers what was read."""

  def __init__(self, length):
    self.length, self.reads = length, []

  def __len__(self):
    return self.length

  def read(self, indices):
    self.reads.append(indices.tolist())
    return [b"%d" % i for i in indices]

  def name(self, index):
    return f"number {index}"


def test_taking_twice_composes_positions_without_reading():
  numbers = _Numbers(10)
  split = Split(np.arange(10), records=numbers)
  part = split.take(np.array([9, 3, 5, 3])).take(np.array([3, 0]))
  assert numbers.reads == []
  np.testing.assert_array_equal(part.labels, [3, 9])
  assert part.records.read(np.array([1, 0, 1])) == [b"9", b"3", b"9"]
  assert numbers.reads == [[9, 3, 9]]
  assert part.records.name(0) == "number 3"


def test_selections_do_not_nest():
  split = Split(np.arange(4), records=_Numbers(4))
  part = split.take(np.arange(3)).take(np.array([True, False, True]))
  assert isinstance(part.records, Selection)
  assert isinstance(part.records.records, _Numbers)
  np.testing.assert_array_equal(part.records.indices, [0, 2])


def test_split_needs_a_label_for_each_record():
  with pytest.raises(ValueError, match="2 labels are given; expected one"):
    Split(np.zeros(2, int), records=_Numbers(3))


# ImageNet-LT by TFDS's own builder, from small archives of the official form


def _tar(files):
  buffer = io.BytesIO()
  with tarfile.open(fileobj=buffer, mode="w") as archive:
    for name, data in files.items():
      member = tarfile.TarInfo(name)
      member.size = len(data)
      archive.addfile(member, io.BytesIO(data))
  return buffer.getvalue()


def _jpeg(seed):
  image = Image.fromarray(np.full((20 + seed % 5, 30, 3), seed, np.uint8))
  buffer = io.BytesIO()
  image.save(buffer, "JPEG")
  return buffer.getvalue()


@pytest.fixture
def archives(tfds, tmp_path, monkeypatch):
  """Archives of 3 images a class, and the lists that TFDS would download."""
  wnids = (
    tfds.builder("imagenet_lt", data_dir=str(tmp_path))
    .info.features["label"]
    .names
  )
  train = {
    wnid: {f"{wnid}_{i}.JPEG": _jpeg((3 * c + i) % 256) for i in range(3)}
    for c, wnid in enumerate(wnids)
  }
  manual_dir = tmp_path / "archives"
  manual_dir.mkdir()
  (manual_dir / "ILSVRC2012_img_train.tar").write_bytes(
    _tar({f"{wnid}.tar": _tar(files) for wnid, files in train.items()})
  )
  (manual_dir / "ILSVRC2012_img_val.tar").write_bytes(
    _tar({f"ILSVRC2012_val_{i:08}.JPEG": _jpeg(i) for i in range(1, 8)})
  )
  lists = {}
  for part, chosen in (("train", (0, 1)), ("validation", (2,))):
    lists[part] = tmp_path / f"{part}.txt"
    lists[part].write_text(
      "".join(
        f"train/{wnid}/{wnid}_{i}.JPEG {c}\n"
        for c, wnid in enumerate(wnids)
        for i in chosen
      )
    )
  monkeypatch.setattr(
    tfds.download.DownloadManager, "download", lambda *_: lists
  )
  return manual_dir, train


def test_imagenet_lt_is_prepared_from_its_archives(archives, tmp_path, reads):
  manual_dir, train = archives
  config = imagenet_lt.get_config()
  config.dataset.source = "tfds"
  config.dataset.root = str(tmp_path / "prepared")
  config.dataset.manual_dir = str(manual_dir)
  dataset = build.build_dataset(config)
  np.testing.assert_array_equal(dataset.class_counts, np.full(1000, 2))
  np.testing.assert_array_equal(
    np.bincount(dataset.validation.labels), np.full(1000, 1)
  )
  assert len(dataset.test) == 7
  wnid = dataset.class_names[int(dataset.train.labels[5])]
  reads.clear()
  [data] = dataset.train.records.read(np.array([5]))
  assert data in train[wnid].values()
  assert len(reads) == 1


# Small images, in memory


def _store_small(tfds, data_dir):
  """Stores a small data set with TFDS's own tools."""
  features = tfds.features.FeaturesDict(
    {
      "image": tfds.features.Image(shape=(8, 8, 3)),
      "label": tfds.features.ClassLabel(names=["plane", "car", "bird"]),
    }
  )
  images = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), np.uint8)
  tfds.dataset_builders.store_as_tfds_dataset(
    name="tiny",
    version="1.0.0",
    features=features,
    split_datasets={
      split: [
        (i, {"image": image, "label": i % 3})
        for i, image in enumerate(images[:count])
      ]
      for split, count in (("train", 30), ("test", 6))
    },
    data_dir=str(data_dir),
    disable_shuffling=True,
  )
  return images


def test_tfds_by_profile(tfds, tmp_path):
  images = _store_small(tfds, tmp_path)
  dataset = sources.load_tfds(
    "tiny",
    data_dir=str(tmp_path),
    options=sources.SplitOptions(
      profile="exponential", imbalance=4, validation_per_class=2
    ),
  )
  assert (dataset.name, dataset.class_names) == (
    "tiny",
    ("plane", "car", "bird"),
  )
  np.testing.assert_array_equal(dataset.class_counts, [8, 4, 2])
  np.testing.assert_array_equal(np.bincount(dataset.validation.labels), 3 * [2])
  np.testing.assert_array_equal(dataset.test.images, images[:6])


def test_tfds_names_an_unknown_data_set(tfds, tmp_path):
  with pytest.raises(
    ValueError, match="TFDS data set 'nosuch' is not available"
  ):
    sources.load_tfds("nosuch", data_dir=str(tmp_path))
