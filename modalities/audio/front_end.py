"""The front end of spectrograms: sample rate, frames and range of frequencies, stored with the model."""

from dataclasses import dataclass
from typing import Annotated

from maskkit.parts import part
from maskkit.ranges import NotNegative, Positive, Range, check_ranges
from maskkit.tokenizers import Patches

LOWEST_RATE, HIGHEST_RATE = 1000, 1_000_000  # samples per second of what counts as a recording
Rate = Annotated[int, Range(least=LOWEST_RATE, most=HIGHEST_RATE)]
LONGEST = 2**16  # samples of a window: more would make tables of bands of hundreds of megabytes


@part
@dataclass(frozen=True, kw_only=True)
class FrontEnd:
    """How a waveform becomes frames of mel energies. The defaults are Audio-MAE's (dataset.py, line 210).

    Lengths are in whole samples, rounded down as by Kaldi. Raises ValueError for values that do not fit each other.
    """

    sample_rate: Rate = 16_000
    """Samples per second. Recordings of another rate are resampled to it."""
    lowest: NotNegative = 20.0
    """Lower end of the lowest mel band, in hertz."""
    highest: Positive | None = None
    """Upper end of the highest mel band, in hertz. None is half the sample rate."""
    window: Positive = 0.025
    """Length of a frame, in seconds."""
    shift: Positive = 0.01
    """Distance between the starts of two frames, in seconds."""

    def __post_init__(self) -> None:
        check_ranges(self)
        rate, half = self.sample_rate, self.sample_rate / 2
        if rate != int(rate):
            raise ValueError(f"--sample-rate must be a whole number, such as 16000, got {rate}")
        if not self.lowest < self.end <= half:
            raise ValueError(
                f"--lowest must be below --highest, which is at most half the sample rate, {half:g} Hz, "
                f"got lowest {self.lowest:g} and highest {self.end:g}"
            )
        if not 2 <= self.window * rate <= LONGEST:
            raise ValueError(
                f"--window must last from 2 to {LONGEST} samples, {2 / rate:.3g} to {LONGEST / rate:.3g} s "
                f"at {rate} Hz, got {self.window:g} s"
            )
        if not 1 / rate <= self.shift <= self.window:
            raise ValueError(
                f"--shift must be at least a sample, {1 / rate:.3g} s, and at most the window, {self.window:g} s, "
                f"got {self.shift:g} s"
            )

    @property
    def end(self) -> float:
        """Upper end of the highest mel band, in hertz."""
        return self.sample_rate / 2 if self.highest is None else self.highest

    @property
    def window_samples(self) -> int:
        """Samples in a frame."""
        return _samples(self.window, self.sample_rate)

    @property
    def shift_samples(self) -> int:
        """Samples between the starts of two frames."""
        return _samples(self.shift, self.sample_rate)

    @property
    def points(self) -> int:
        """Length of the Fourier transform in samples: the next power of two from the length of a frame."""
        return 1 << (self.window_samples - 1).bit_length()

    @property
    def frames_per_second(self) -> float:
        """Frames in a second, 100 by default."""
        return self.sample_rate / self.shift_samples


AUDIO_MAE = FrontEnd()


def front_end_of(tokenizer: Patches) -> FrontEnd:
    """Return the front end that a tokenizer of spectrograms is stored with: Audio-MAE's where it names none."""
    stored = tokenizer.front_end
    if stored is None:
        return AUDIO_MAE
    if not isinstance(stored, FrontEnd):
        raise ValueError(f"the front end of a tokenizer of spectrograms must be a FrontEnd, got {stored!r}")
    return stored


def _samples(seconds: float, rate: int) -> int:
    return int(seconds * rate + 1e-6)  # 0.0029 s at 10 kHz are 29 samples, although the product is 28.999999999999996
