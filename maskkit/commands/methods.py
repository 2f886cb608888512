"""``maskkit methods``: list the methods and the modalities that they run on."""

import json
from collections.abc import Sequence
from typing import Annotated

import tyro

from maskkit.commands.flags import refusals_in_one_line
from maskkit.methods import methods_of
from maskkit.modality import find_modality, modality_names


def main(words: Sequence[str]) -> int:
    """Parse the arguments of ``maskkit methods``, print the table and return the exit code."""
    with refusals_in_one_line("maskkit methods"):
        tyro.cli(methods, prog="maskkit methods", args=list(words))
    return 0


def methods(
    modality: Annotated[str | None, tyro.conf.Positional] = None,
    json_: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """List the methods and the modalities that they run on.

    Args:
        modality: Lists the methods of this modality only.
        json_: Prints a JSON list of objects with the keys method and modalities.

    """
    names = [modality] if modality is not None else modality_names()
    table: dict[str, list[str]] = {}
    texts: dict[str, str] = {}
    for name in names:
        for method, kind in methods_of(find_modality(name)).items():
            table.setdefault(method, []).append(name)
            texts[method] = (kind.__doc__ or "").splitlines()[0]
    if json_:
        print(json.dumps([{"method": method, "modalities": found} for method, found in table.items()], indent=1))
        return
    width = max(map(len, table))
    columns = "  ".join(f"{name:<6}" for name in names)
    print(f"{'':<{width}}  {columns}")
    for method, found in table.items():
        marks = "  ".join(f"{'yes' if name in found else '-':<6}" for name in names)
        print(f"{method:<{width}}  {marks}  {texts[method]}")
