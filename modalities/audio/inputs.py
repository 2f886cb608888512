"""The inputs of methods on spectrograms: patches, positions, the default masker and target."""

from dataclasses import dataclass
from typing import Annotated

from maskkit.kernels.linear import Linear
from maskkit.maskers import Uniform
from maskkit.modalities.audio.front_end import AUDIO_MAE, FrontEnd, Rate
from maskkit.modality import InputSpec
from maskkit.positions import SinCos
from maskkit.ranges import Length, NotNegative, Number, Positive, Range, check_ranges
from maskkit.targets import Contents
from maskkit.tokenizers import Patches

FRAMES, MELS, PATCH_SIZE = 1024, 128, 16  # Audio-MAE's, for 10 s

# Of AudioSet's log mel energies (main_pretrain.py). The authors have -6.6268077, 5.358466 and 512 frames for
# ESC-50, and -6.845978, 5.5654526 and 128 frames for Speech Commands.
AUDIOSET_MEAN, AUDIOSET_STD = -4.2677393, 4.5689974


def patches(
    patch_size: int | tuple[int, int] = 16,
    *,
    frames: int | None = None,
    mels: int | None = None,
    mean: float = AUDIOSET_MEAN,
    std: float = AUDIOSET_STD,
    front_end: FrontEnd = AUDIO_MAE,
) -> Patches:
    """Return the tokenizer of spectrograms ``[B 1 time mels]``.

    ``mean`` and ``std`` are those of the data set's log mel energies. Readers subtract the mean and divide by *twice*
    the deviation, as the authors' dataset.py does (docs/official.md A6). Missing frames are filled with raw 0, which is
    +0.467 after AudioSet's normalisation, because the authors pad before they normalise.
    Readers compute energies by ``front_end``.
    """
    return Patches(
        size=(patch_size, patch_size) if isinstance(patch_size, int) else (patch_size[0], patch_size[1]),
        channels=1,
        mean=(mean,),
        std=(2 * std,),
        names=("time", "mels"),
        input_size=None if frames is None or mels is None else (frames, mels),
        fill=-mean / (2 * std),
        # Audio-MAE's is not written down, so that runs of versions which knew no other one go on as the same model.
        front_end=None if front_end == AUDIO_MAE else front_end,
    )


def inputs(
    frames: int = FRAMES,
    mels: int = MELS,
    patch_size: int | tuple[int, int] = PATCH_SIZE,
    mean: float = AUDIOSET_MEAN,
    std: float = AUDIOSET_STD,
    front_end: FrontEnd = AUDIO_MAE,
) -> InputSpec:
    """Return the ``InputSpec`` of spectrograms.

    ``frames`` is the length in frames, of 10 ms by default, ``mels`` the number of frequency bands, and ``patch_size``
    one number or (frames, bands). ``mean`` and ``std`` are those of the data set's log mel energies, which are computed
    by ``front_end``.
    """
    tokenizer = patches(patch_size, frames=frames, mels=mels, mean=mean, std=std, front_end=front_end)
    return InputSpec(
        tokenizer=tokenizer,
        positions=lambda dim: SinCos(dim=dim, axes=2, order=(1, 0)),
        embed=lambda dim: Linear(tokenizer.width, dim),
        masker=lambda ratio: Uniform(ratio=ratio),
        target=Contents,
        output=tokenizer.width,
        grid=tokenizer.grid((frames, mels)),
    )


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Settings of ``audio.inputs``. A value of None is chosen to fit the recordings, or is the published default."""

    frames: Length | None = None
    """Length of a clip in frames, of 10 ms by default. Longer recordings are cut, shorter ones are padded."""
    seconds: Annotated[float, Range(above=0, most=86_400)] | None = None
    """Length of a clip in seconds, instead of --frames. It is rounded up to whole patches."""
    mels: Length = MELS
    """Number of mel frequency bands."""
    patch_size: Length = PATCH_SIZE
    """Size of a square patch, in frames and in bands."""
    mean: Number | None = None
    """Mean of the log mel energies. By default AudioSet's."""
    std: Positive | None = None
    """Standard deviation of the log mel energies. By default AudioSet's."""
    sample_rate: Rate = AUDIO_MAE.sample_rate
    """Samples per second (hertz). Recordings of another rate are resampled to it."""
    lowest: NotNegative = AUDIO_MAE.lowest
    """Lower end of the lowest mel band, in hertz."""
    highest: Positive | None = AUDIO_MAE.highest
    """Upper end of the highest mel band, in hertz. By default half the sample rate."""
    window: Positive = AUDIO_MAE.window
    """Length of a frame, in seconds."""
    shift: Positive = AUDIO_MAE.shift
    """Distance between the starts of two frames, in seconds, at most --window."""

    def __post_init__(self) -> None:
        """Validate the front end and the length. Raises ValueError."""
        check_ranges(self)
        _ = self.front_end

    def spec(self) -> InputSpec:
        """Return the ``InputSpec`` of spectrograms."""
        mean = AUDIOSET_MEAN if self.mean is None else self.mean
        std = AUDIOSET_STD if self.std is None else self.std
        return inputs(self.length or FRAMES, self.mels, self.patch_size, mean, std, self.front_end)

    @property
    def front_end(self) -> FrontEnd:
        """The front end of these settings. Raises ValueError for values that do not fit each other."""
        return FrontEnd(
            sample_rate=self.sample_rate,
            lowest=self.lowest,
            highest=self.highest,
            window=self.window,
            shift=self.shift,
        )

    @property
    def length(self) -> int | None:
        """Number of frames in a clip, from ``frames`` or ``seconds``; None if neither is given."""
        if self.frames is not None or self.seconds is None:
            return self.frames
        return fitting_length(self.seconds, self.patch_size, self.front_end)


def fitting_length(seconds: float, patch_size: int = PATCH_SIZE, front_end: FrontEnd = AUDIO_MAE) -> int:
    """Return a length in frames that holds ``seconds``, in whole patches, at least four patches."""
    return max(-(-round(seconds * front_end.frames_per_second) // patch_size), 4) * patch_size
