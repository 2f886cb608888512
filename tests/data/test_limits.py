"""What one sample may cost, and what a reader may raise."""

import itertools
import signal
import time

import pytest
import torch

from maskkit.data.limits import TooSlowError, check_decoded, time_limit
from maskkit.data.loader import Stream, load
from maskkit.data.source import BadSampleError, Key, read_sample


class Source:
    """Numbers, one of which raises an error."""

    repeats = 1

    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 40

    def read(self, key, rng):
        if key.index == 3:
            self.error()
        return torch.tensor([key.index])

    def path(self, index):
        return f"number {index}"

    def label(self, index):
        return None


def raises(error):
    def throw():
        raise error

    return throw


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("all input arrays must have the same shape\nand more"), "cannot be read: all input arrays must"),
        (KeyError("frames"), "cannot be read: 'frames'"),
        (RecursionError(), "cannot be read: RecursionError"),
        (MemoryError(), "needs more memory than there is"),
        (BadSampleError("number 3", "broken"), "broken"),
    ],
)
def test_any_error_of_a_reader_is_a_bad_sample_of_its_file(error, reason):
    with pytest.raises(BadSampleError) as caught:
        read_sample(Source(raises(error)), Key.of(3), torch.Generator())
    assert caught.value.path == "number 3" and caught.value.reason.startswith(reason) and "\n" not in str(caught.value)
    source = Source(raises(error))
    batches = itertools.islice(load(source, Stream(source, 4, 0)), 10)
    bad = [pair for batch in batches for pair in batch.bad]
    assert [path for path, _ in bad] == ["number 3"]


def test_a_missing_library_is_no_fault_of_a_file():
    with pytest.raises(ImportError):
        read_sample(Source(raises(ImportError("no laspy"))), Key.of(3), torch.Generator())


def catching() -> None:
    """Take any error for one of the file, as readers do."""
    try:
        time.sleep(30)
    except Exception as error:
        raise ValueError("broken, or no STL file") from error


@pytest.mark.parametrize("slow", [lambda: time.sleep(30), catching])
def test_a_reader_that_takes_too_long_is_interrupted(monkeypatch, slow):
    monkeypatch.setenv("MASKKIT_SAMPLE_SECONDS", "0.2")
    began = time.monotonic()
    with pytest.raises(BadSampleError, match="takes longer than 0.2 seconds to read; raise MASKKIT_SAMPLE_SECONDS"):
        read_sample(Source(slow), Key.of(3), torch.Generator())
    assert time.monotonic() - began < 20


def test_another_timer_of_the_process_goes_on():
    rung = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    remaining = signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with time_limit():
            pass
        time.sleep(0.6)
        assert rung == [1]
    finally:
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *remaining)


def test_limits_come_from_the_environment(monkeypatch):
    check_decoded("a", 2**30)
    with pytest.raises(BadSampleError, match="decodes to 2 GiB, more than the limit of 1 GiB"):
        check_decoded("a", 2**31)
    monkeypatch.setenv("MASKKIT_SAMPLE_GIB", "4")
    check_decoded("a", 2**31)
    for wrong in ("0", "-1", "nan", "many"):
        monkeypatch.setenv("MASKKIT_SAMPLE_GIB", wrong)
        with pytest.raises(ValueError, match="MASKKIT_SAMPLE_GIB must be a positive number"):
            check_decoded("a", 1)


def test_too_slow_is_no_error_of_a_value():
    assert not issubclass(TooSlowError, ValueError | OSError)
