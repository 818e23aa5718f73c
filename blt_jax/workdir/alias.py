"""A plain path for a folder whose own path other programs misread."""

import os
import pathlib
import shutil
import tempfile

from blt_jax.workdir import files


class Alias:
  """A link to a folder, in a temporary folder of its own.

  Attributes:
    path: the link; of letters, digits and a few signs.
  """

  def __init__(self, folder: pathlib.Path):
    """Makes the link.

    Raises:
      ValueError: when the path of the system's temporary folder is not plain
        itself.
    """
    self._folder = pathlib.Path(tempfile.mkdtemp(prefix="blt_jax-"))
    self.path = self._folder / "checkpoints"
    if not files.is_plain(self.path):
      self._folder.rmdir()
      raise ValueError(
        f"--workdir={folder.parent} has characters that need a link from the "
        f"temporary folder {str(self._folder.parent)!r}, whose path has such "
        "characters as well; expected another TMPDIR, or another --workdir."
      )
    os.symlink(folder, self.path)

  def remove(self) -> None:
    """Removes the link."""
    shutil.rmtree(self._folder, ignore_errors=True)
