"""Print pip constraints: each dependency of pyproject.toml, and of its extras but ``test``, at its lowest version.

``make test-lowest`` installs with them. What the dependencies themselves need stays the newest that fits.
"""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text())["project"]
groups = {"": project["dependencies"], **project["optional-dependencies"]}
for name, group in groups.items():
    for requirement in map(Requirement, () if name == "test" else group):
        lowest = [clause.version for clause in requirement.specifier if clause.operator in (">=", "==")]
        if lowest:
            print(f"{requirement.name}=={lowest[0]}")
