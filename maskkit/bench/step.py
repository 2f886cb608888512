"""``maskkit bench step``: the time of a training step, beside a peer's or beside another revision of maskkit."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from maskkit.bench.timing import Precision, alternate, count_flops, machine, precisions, write_record
from maskkit.bench.workload import Run, Workload, find_workload
from maskkit.ranges import Count

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Step:
    """Time a training step (forward, backward, optimiser), compared with a peer or another revision of maskkit.

    The runs alternate, because machines are noisy. The peer is another implementation, such as transformers', if it is
    installed. With --against, the published presets are timed instead, in one process per revision.
    """

    work: str = "image"
    """Modality, which defines the model, the batch and the peer."""
    precision: Precision = "both"
    """float32, bfloat16 autocast, or both; both means float32 with --against."""
    repeats: Count = 7
    """Number of timed steps each. The median is reported."""
    peer: bool = True
    """Also time the peer."""
    against: str | None = None
    """Git revision to compare with, such as HEAD~1; needs a clone of the repository."""
    method: str | None = None
    """Published preset to compare with --against, such as videomae. By default all presets of the modality."""
    all: bool = False
    """Compare the presets of all modalities with --against."""
    device: str = "cpu"
    """cpu or cuda."""
    out: Path | None = None
    """JSON file to write the results to."""

    def run(self) -> None:
        """Measure, print and write the results."""
        if self.against is not None:
            from maskkit.bench.revisions import compare

            presets = compare(
                self.against,
                work=None if self.all else self.work,
                method=self.method,
                repeats=self.repeats,
                precision="bf16" if self.precision == "bf16" else "fp32",
                device=self.device,
            )
            write_record(self.out, {"machine": machine(self.device), "against": self.against, "presets": presets})
            return
        if self.all or self.method:
            raise ValueError("--all and --method choose presets to compare with another revision; add --against REV")
        self._beside_peer(find_workload(self.work))

    def _beside_peer(self, workload: Workload) -> None:
        import torch

        from maskkit.engine.device import keep_freed_memory
        from maskkit.engine.forecast import matrix_peak

        if self.device == "cpu":
            keep_freed_memory()  # as training does; the peer gains from it as well
        results: dict[str, object] = {"machine": machine(self.device), "work": workload.title}
        print(f"{workload.title}\n{results['machine']}")
        for name, dtype in precisions(self.precision).items():
            peak = matrix_peak(dtype, torch.device(self.device))
            results[name] = self._time(name, dtype, workload, peak)
        write_record(self.out, results)

    def _time(self, name: str, dtype: "torch.dtype", workload: Workload, peak: float) -> dict[str, object]:
        """Time one precision; ``peak`` is the machine's, in operations per second."""
        contenders: dict[str, Run] = {"maskkit": workload.ours(dtype, self.device)}
        if self.peer and workload.peer is not None:
            contenders["peer"] = workload.peer(dtype, self.device)
        flops = count_flops(contenders["maskkit"])
        seconds = alternate(contenders, self.repeats, self.device)
        print(f"{name}: machine's matrix peak {peak / 1e12:.2f} TFLOP/s, a step is {flops / 1e9:.0f} GFLOP")
        for who, took in seconds.items():
            print(f"  {who:<8} {took * 1e3:8.1f} ms   {flops / took / peak:5.1%} of the peak")
        row: dict[str, object] = {"peak_tflops": peak / 1e12, "flops": flops, "seconds": seconds}
        row["peak_share"] = {who: flops / took / peak for who, took in seconds.items()}
        if "peer" in seconds:
            ratio = row["ratio"] = seconds["maskkit"] / seconds["peer"]
            print(f"  maskkit takes {ratio:.3f} of the time of {workload.peer_name}")
        return row
