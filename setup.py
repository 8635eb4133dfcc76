"""A build carries a copy of the notebooks, as `kt_core/notebooks`; pyproject.toml has the rest."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class WithNotebooks(build_py):
    """In a checkout, also an editable one, the notebooks stay where they are."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib, "kt_core", "notebooks")
            self.mkpath(str(target))
            for notebook in sorted(Path("notebooks").glob("*.ipynb")):
                self.copy_file(str(notebook), str(target / notebook.name))


setup(cmdclass={"build_py": WithNotebooks})
