"""Progress of work: durations as people write them, and lines now and then."""

import pytest

from maskkit import progress
from maskkit.progress import clock, track


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (0.4, "0:00"), (59.6, "1:00"), (75, "1:15"), (3599, "59:59"), (3600, "1:00:00"), (90061, "25:01:01")],
)
def test_durations(seconds, text):
    assert clock(seconds) == text


@pytest.fixture
def time(monkeypatch):
    """A clock that a test moves."""

    class Clock:
        now = 50.0

        def perf_counter(self):
            return self.now

    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


def work(time, count, seconds, **settings):
    done = []
    for item in track(range(count), "reading", **settings):
        done.append(item)
        time.now += seconds
    return done


def test_short_work_is_silent(time, capsys):
    assert work(time, 10, 0.1) == [*range(10)]
    assert capsys.readouterr() == ("", "")


def test_long_work_says_how_far_it_is_now_and_then(time, capsys):
    assert work(time, 10, 1.5) == [*range(10)]
    said = capsys.readouterr().err.splitlines()
    assert said == ["reading: 2/10 · 0:12 left", "reading: 6/10 · 0:06 left"]


def test_work_without_items_is_no_work(time, capsys):
    assert work(time, 0, 1) == [] and capsys.readouterr() == ("", "")


def test_on_a_terminal_there_is_a_bar_that_ends_with_the_work(time, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert work(time, 4, 3.0) == [0, 1, 2, 3]
    said = capsys.readouterr().err
    assert "reading" in said and "4/4" in said and "reading: " not in said


def test_an_error_ends_the_bar_and_is_passed_on(time, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with pytest.raises(KeyError):
        for item in track(range(4), "reading", after=0.0):
            time.now += 3
            if item == 2:
                raise KeyError
    assert "\x1b[?25h" in capsys.readouterr().err  # the cursor is shown again
