"""One scale for the deep grey images of a data set, and what is said of it."""

import numpy as np
import pytest
from PIL import Image

from blt_jax.data.dataset import Split
from blt_jax.data.reading import survey
from blt_jax.data.reading.decode import Decoding


@pytest.mark.parametrize(
  "low, high, expected",
  [
    (3, 60000, (0, 65535)),  # 16 bits.
    (0, 4012, (0, 4095)),  # 12 bits in files of 16.
    (90, 2900, (0, 4095)),  # The dark current of a camera is near 0.
    (0, 250, (0, 255)),  # 8 bits in files of 16.
    (0.0, 0.97, (0, 1)),  # Floats.
    (0.1, 255.0, (0, 255)),
    (-1000, 1400, (-1000, 1400)),  # Computed tomography.
    (21000, 24000, (21000, 24000)),  # A thermal camera.
    (0, 60, (0, 60)),  # Very dark, or numbers of classes.
    (0.0, 3.7, (0, 3.7)),
    (0, 0, (0, 65535)),  # All black.
    (-5, -5, (-5, -4)),
  ],
)
def test_the_range_is_what_users_of_such_data_expect(low, high, expected):
  assert survey.grey_range([(low, high)] * 3) == expected


def test_one_odd_image_of_many_does_not_darken_the_rest():
  assert survey.grey_range([(0, 4000)] * 199 + [(0, 60000)]) == (0, 4095)


def test_the_range_reaches_over_all_images_where_there_are_few():
  assert survey.grey_range([(0, 300), (0, 4000)]) == (0, 4095)


def test_odd_pixels_and_nan_do_not_count():
  values = np.linspace(0, 1, 10_000, dtype=np.float32).reshape(100, 100)
  values[0, :3] = 1e30, np.nan, np.inf
  low, high = survey.limits(values)
  assert 0 <= low < 0.01
  assert 0.99 < high <= 1
  assert survey.limits(np.full((2, 2), np.nan)) is None


def test_whole_numbers_have_whole_limits():
  values = np.arange(-50, 50, dtype=np.int16)
  assert survey.limits(values) == (-50, 49)


def _folder(tmp_path, images, **options):
  paths = []
  for number, image in enumerate(images):
    paths.append(str(tmp_path / f"{number}.png"))
    image.save(paths[-1], **options)
  return Split(np.zeros(len(paths), int), paths=paths)


def _images():
  ramp = np.arange(256).reshape(16, 16)
  return [
    Image.fromarray((ramp * 16).astype(np.uint16)),
    Image.fromarray(ramp.astype(np.uint8)),
    Image.fromarray(np.dstack([ramp] * 4).astype(np.uint8)),
    Image.fromarray(np.dstack([ramp] * 3 + [ramp * 0 + 255]).astype(np.uint8)),
  ]


def test_each_kind_is_said_with_its_number(tmp_path):
  split = _folder(tmp_path, _images())
  (tmp_path / "1.png").write_bytes(b"no image")
  found = survey.survey(split)
  assert found.lines(Decoding(grey_range=(0, 4095))) == [
    "grey of more than 8 bits in 1 of the 3 images looked at, with values from "
    "0 to 4080: 0 becomes black and 4095 white (config.dataset.grey_range)",
    "transparent pixels in 1 of the 3 images looked at: laid over "
    "(255, 255, 255) (config.dataset.background)",
  ]


def test_nan_and_infinity_are_said(tmp_path):
  paths = [str(tmp_path / f"{value}.tif") for value in (0, np.nan, np.inf)]
  for path in paths:
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    values[3, 3] = float(path.removesuffix(".tif").rpartition("/")[2])
    Image.fromarray(values).save(path)
  found = survey.survey(Split(np.zeros(3, int), paths=paths))
  _, line = found.lines(Decoding(grey_range=(0, 1)))
  assert line == (
    "NaN or infinity in 2 of the 3 images looked at: NaN and -infinity "
    "become black, infinity white"
  )


def test_images_that_stay_dark_are_said(tmp_path):
  split = _folder(tmp_path, _images()[:1])
  (line,) = survey.survey(split).lines(Decoding(grey_range=(0, 65535)))
  assert line.endswith("; 1 of them stay dark, below 1/8 of this range")


def test_animations_and_stacks_are_said(tmp_path):
  frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
  names = "a.gif", "a.webp", "a.png", "a.tif", "one.gif", "one.tif", "a.mpo"
  for name in names:
    more = [] if name.startswith("one") else frames[1:]
    frames[0].save(tmp_path / name, save_all=True, append_images=more)
  paths = [str(tmp_path / name) for name in names]
  (line,) = survey.survey(Split(np.zeros(7, int), paths=paths)).lines(
    Decoding()
  )
  assert line == (
    "several frames in 4 of the 7 images looked at: the first is used"
  )


@pytest.mark.parametrize(
  "followed, done", [(True, "turned as they say"), (False, "left as they are")]
)
def test_orientations_are_said(tmp_path, followed, done):
  exif = Image.Exif()
  exif[0x0112] = 3
  split = _folder(tmp_path, _images()[1:2], exif=exif)
  (line,) = survey.survey(split).lines(Decoding(exif_orientation=followed))
  assert line.startswith(
    "EXIF data ask for another orientation in 1 of the 1 images looked at: "
    f"{done}"
  )


def test_plain_images_are_not_worth_a_line(tmp_path):
  split = _folder(tmp_path, _images()[1:2])
  assert survey.survey(split).lines(Decoding()) == []
  memory = Split(np.zeros(1, int), images=np.zeros((1, 4, 4, 3), np.uint8))
  assert survey.survey(memory) == survey.Survey()


def test_a_few_deep_files_among_many_jpegs_are_found(tmp_path):
  Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "a.jpg")
  deep = Image.fromarray(np.full((4, 4), 4000, np.uint16))
  deep.save(tmp_path / "deep.png")
  paths = [str(tmp_path / "a.jpg")] * 1000
  paths[501] = str(tmp_path / "deep.png")
  found = survey.survey(Split(np.zeros(1000, int), paths=paths))
  assert found.limits == [(4000, 4000)]
  assert len(found.seen) == 201
