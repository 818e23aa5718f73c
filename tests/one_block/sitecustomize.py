"""The smallest network has one block, not four, so that it compiles far sooner.

Python imports this file at its start where PYTHONPATH names its folder: for the
processes of tests in which the network plays no part.
"""

import importlib.abc
import importlib.util
import sys


class _Smaller(importlib.abc.MetaPathFinder):
  """Changes the networks when they are imported."""

  def find_spec(self, fullname, path, target=None):
    if fullname != "blt_jax.models.resnet":
      return None
    sys.meta_path.remove(self)
    spec = importlib.util.find_spec(fullname)
    execute = spec.loader.exec_module

    def execute_and_change(module):
      execute(module)
      module.CONFIGS["small_resnet10"]["stage_sizes"] = (1,)

    spec.loader.exec_module = execute_and_change
    return spec


sys.meta_path.insert(0, _Smaller())
