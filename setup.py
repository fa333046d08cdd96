"""Put `conf/` into a wheel, as `recipes/conf`. All else about the package is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConf(build_py):
    """Copies modules, then the configs."""

    def run(self) -> None:
        """Build; an editable install uses all files where they are."""
        if not self.editable_mode:
            # A file that is gone from the source must not come back from an earlier build.
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()
        if not self.editable_mode:
            shutil.copytree("conf", Path(self.build_lib, "recipes", "conf"))


setup(cmdclass={"build_py": BuildWithConf})
