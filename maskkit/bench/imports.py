"""``maskkit bench import``: how long imports take."""

import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

from maskkit.modality import modality_names
from maskkit.ranges import Count

CODES = {
    "python": "pass",
    "torch": "import torch",
    "maskkit": "import maskkit",
    "maskkit, all public names": "import torch, maskkit; [getattr(maskkit, n) for n in maskkit.__all__]",
}
MODALITY = "from maskkit.modality import find_modality; find_modality({name!r})"


@dataclass(frozen=True, kw_only=True)
class Imports:
    """Time the import of maskkit and its modalities in new processes, compared with torch."""

    repeats: Count = 5
    """Number of timed processes per import. The median is reported."""

    def run(self) -> None:
        """Time and print."""
        codes = CODES | {f"modality {name}": MODALITY.format(name=name) for name in modality_names()}
        times: dict[str, list[float]] = {name: [] for name in codes}
        for _ in range(self.repeats):
            for name, code in codes.items():
                began = time.perf_counter()
                subprocess.run([sys.executable, "-c", code], check=True)
                times[name].append(time.perf_counter() - began)
        medians = {name: statistics.median(values) for name, values in times.items()}
        for name, took in medians.items():
            print(f"{name:<28} {took:6.2f} s   {took - medians['torch']:+6.2f} s beyond torch")
