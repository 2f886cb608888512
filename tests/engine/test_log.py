"""What a run writes and prints of itself."""

import json
import math

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from maskkit.engine.log import Log, NullLog

ROW = {"loss": 0.5, "samples_per_second": 10.0, "data_wait": 0.0}


def opened(tmp_path, **settings):
    return Log(tmp_path / "metrics.jsonl", tmp_path / "board", **{"steps": 4, "start": 0, **settings})


def rows(tmp_path):
    return [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]


def board(tmp_path):
    events = EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    return events


def test_numbers_go_to_a_file_and_to_tensorboard(tmp_path):
    with opened(tmp_path) as log:
        for step in (1, 2):
            log.write({**ROW, "step": step, "loss/more": step / 4, "steps": 9})
        assert len(rows(tmp_path)) == 2  # at once, not at the end
    assert rows(tmp_path)[1] == {**ROW, "step": 2, "loss/more": 0.5, "steps": 9}
    scalars = board(tmp_path).Scalars("loss/more")
    assert [(each.step, each.value) for each in scalars] == [(1, 0.25), (2, 0.5)]
    assert "step" not in board(tmp_path).Tags()["scalars"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_null_since_json_has_no_word_for_it(tmp_path, value):
    with opened(tmp_path) as log:
        log.write({**ROW, "step": 1, "loss": value})
    text = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(text, parse_constant=lambda word: pytest.fail(word))["loss"] is None


def test_going_back_forgets_what_came_after_a_checkpoint(tmp_path):
    with opened(tmp_path) as log:
        log.write({**ROW, "step": 1})
        kept = log.bytes()
        log.write({**ROW, "step": 2})
        assert log.bytes() > kept == len(json.dumps({**ROW, "step": 1})) + 1
        log.rewind(1, kept)
        log.write({**ROW, "step": 2, "loss": 0.25})
    assert [(row["step"], row["loss"]) for row in rows(tmp_path)] == [(1, 0.5), (2, 0.25)]
    with opened(tmp_path, start=1, keep_bytes=kept) as log:
        log.write({**ROW, "step": 2, "loss": 0.125})
    assert [row["loss"] for row in rows(tmp_path)] == [0.5, 0.125]
    with opened(tmp_path):
        pass
    assert rows(tmp_path) == []  # a new run


def test_without_a_terminal_there_are_plain_lines_now_and_then(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("maskkit.engine.log.PLAIN_SECONDS", 1e9)
    with opened(tmp_path) as log:
        for step in (1, 2, 3, 4):
            log.write({**ROW, "step": step, "data_wait": 0.5 if step == 4 else 0.0})
        log.say("a path holds [bold] and [/brackets]")
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and said[1] == "a path holds [bold] and [/brackets]"
    assert said[0].startswith("step 4/4 · loss 0.5000 · 10 samples/s · waits 50% for data · ")
    monkeypatch.setattr("maskkit.engine.log.PLAIN_SECONDS", 0.0)
    with opened(tmp_path) as log:
        for step in (1, 2, 3):
            log.write({**ROW, "step": step})
    assert [line.split(" · ")[0] for line in capsys.readouterr().err.splitlines()] == [
        "step 1/4",
        "step 2/4",
        "step 3/4",
    ]


def test_on_a_terminal_there_is_a_bar(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with opened(tmp_path) as log:
        log.write({**ROW, "step": 1})
        log.rewind(0, 0)
        log.write({**ROW, "step": 4})
    said = capsys.readouterr().err
    assert "pretrain" in said and "4/4" in said and "step 4/4" not in said


def test_figures_are_shown_in_tensorboard(tmp_path):
    Image.new("RGBA", (6, 4), (255, 0, 0, 255)).save(tmp_path / "figure.png")
    with opened(tmp_path) as log:
        log.picture(tmp_path / "figure.png", 7)
    (found,) = board(tmp_path).Images("reconstruction")
    assert (found.step, found.width, found.height) == (7, 6, 4)


def test_files_are_closed_after_an_error(tmp_path):
    log = opened(tmp_path)
    with pytest.raises(KeyError), log:
        log.write({**ROW, "step": 1})
        raise KeyError
    with pytest.raises(ValueError, match="closed file"):
        log.write({**ROW, "step": 2})
    assert len(rows(tmp_path)) == 1


def test_other_processes_write_and_print_nothing(tmp_path, capsys):
    with NullLog() as log:
        log.write({"step": 1})
        log.say("a line")
        log.picture(tmp_path / "no.png", 1)
        log.rewind(0, 0)
        assert log.bytes() == 0
    assert capsys.readouterr() == ("", "") and not [*tmp_path.iterdir()]


@pytest.mark.parametrize("text", ["", "{}\n{", "{}\n{}\n{}", "{}\n" + "x" * 99])
def test_rows_that_somebody_changed_stay_lines(tmp_path, text, capsys):
    file = tmp_path / "metrics.jsonl"
    file.write_text(text)
    with Log(file, tmp_path / "board", steps=9, start=3, keep_bytes=9) as log:
        log.write({"step": 4, "loss": 1.0, "samples_per_second": 1.0, "data_wait": 0.0})
    assert [json.loads(line).get("step") for line in file.read_text().splitlines()] == [None] * text.count("{}\n") + [4]
    assert "earlier rows are missing" in capsys.readouterr().err
