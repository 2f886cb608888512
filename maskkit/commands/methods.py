"""``maskkit methods``: list the methods and the modalities that they run on."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from maskkit.commands.words import read_words
from maskkit.methods import methods_of
from maskkit.modality import find_modality, modality_names


def main(words: Sequence[str]) -> int:
    """Parse the arguments of ``maskkit methods``, print the table and return the exit code."""
    read_words(Methods, "methods", list(words)).run()
    return 0


@dataclass(frozen=True, kw_only=True)
class Methods:
    """List the methods and the modalities that they run on."""

    modality: Annotated[str | None, tyro.conf.Positional] = None
    """List the methods of this modality only."""
    json_: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print a JSON list of objects with the keys method and modalities."""

    def run(self) -> None:
        """Print the table."""
        print_methods(self.modality, as_json=self.json_)


def print_methods(modality: str | None, *, as_json: bool) -> None:
    """Print the methods of one modality, or of all, as a table or as JSON. Raises ValueError for an unknown one."""
    names = [modality] if modality is not None else modality_names()
    table: dict[str, list[str]] = {}
    texts: dict[str, str] = {}
    for name in names:
        for method, kind in methods_of(find_modality(name)).items():
            table.setdefault(method, []).append(name)
            texts[method] = (kind.__doc__ or "").splitlines()[0]
    if as_json:
        print(json.dumps([{"method": method, "modalities": found} for method, found in table.items()], indent=1))
        return
    width = max(map(len, table))
    columns = "  ".join(f"{name:<6}" for name in names)
    print(f"{'':<{width}}  {columns}")
    for method, found in table.items():
        marks = "  ".join(f"{'yes' if name in found else '-':<6}" for name in names)
        print(f"{method:<{width}}  {marks}  {texts[method]}")
