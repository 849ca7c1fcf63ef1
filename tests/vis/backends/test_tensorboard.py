"""TensorboardVisBackend, read back with TensorBoard's own reader."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from seg_vis import TensorboardVisBackend

pytest.importorskip("tensorboard")


def read(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0, "tensors": 0})
    return events.Reload()


def test_scalars_come_back_at_their_steps(tmp_path: Path) -> None:
    backend = TensorboardVisBackend(str(tmp_path))
    backend.add_scalar("loss", 0.5, step=1)
    backend.add_scalars({"loss": np.float32(0.25), "mIoU": 0.75, "step": 9}, step=2)
    backend.close()
    events = read(tmp_path)
    assert sorted(events.Tags()["scalars"]) == ["loss", "mIoU"]
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 0.5), (9, 0.25)]


def test_pictures_come_back_to_the_bit(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    backend = TensorboardVisBackend(str(tmp_path))
    backend.add_image("val/street", image, step=40)
    events = read(tmp_path)
    (event,) = events.Images("val/street")
    stored = cv2.imdecode(np.frombuffer(event.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert (event.step, event.width, event.height) == (40, 7, 6)
    assert np.array_equal(stored, image)
    backend.close()


def test_the_config_is_a_text(tmp_path: Path) -> None:
    backend = TensorboardVisBackend(str(tmp_path))
    backend.add_config({"max_iters": 5})
    backend.close()
    tensor = read(tmp_path).Tensors("config/text_summary")[0].tensor_proto
    assert tensor.string_val[0] == b"    max_iters = 5\n"


def test_what_is_no_number_is_reported_once(tmp_path: Path, caplog: Any) -> None:
    backend = TensorboardVisBackend(str(tmp_path))
    with caplog.at_level(logging.WARNING, "seg_vis"):
        for _ in range(3):
            backend.add_scalars({"a": 1.0, "b": [1, 2], "mode": "val"})
    backend.close()
    assert caplog.messages == ["TensorBoard takes numbers; b is list"]
    assert read(tmp_path).Tags()["scalars"] == ["a"]


def test_rows_can_be_read_while_the_run_goes_on(tmp_path: Path) -> None:
    backend = TensorboardVisBackend(str(tmp_path))
    backend.add_scalars({"loss": 1.0}, step=1)
    assert len(read(tmp_path).Scalars("loss")) == 1
    backend.close()


def test_it_can_go_on_after_close(tmp_path: Path) -> None:
    backend = TensorboardVisBackend(str(tmp_path))
    for step in (1, 2):
        backend.add_scalar("loss", step, step)
        backend.close()
    assert len(list(tmp_path.glob("events*"))) in (1, 2)


def test_a_run_that_ends_without_close_loses_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from seg_vis import TensorboardVisBackend\n"
        f"backend = TensorboardVisBackend({str(tmp_path)!r})\n"
        "[backend.add_scalar('loss', i, i) for i in range(50)]\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    assert [event.step for event in read(tmp_path).Scalars("loss")] == list(range(50))


NAMES = ["<script>alert(1)</script>", "[x](javascript:alert(1))", "../../x", "a\x1b[31mb", "a\nb", "a\u202eb", ""]


def test_names_are_data_in_tags_and_messages(tmp_path: Path, caplog: Any) -> None:
    backend = TensorboardVisBackend(str(tmp_path / "run"))
    for name in NAMES:
        backend.add_scalars({name: 0.5, f"{name}!": [1]}, step=1)
        backend.add_image(name, np.zeros((2, 2, 3), np.uint8), step=1)
    backend.close()
    tags = read(tmp_path / "run").Tags()
    kept = ["../../x", "<script>alert(1)</script>", "[x](javascript:alert(1))", "_"]  # TensorBoard shows them as text
    escaped = ["a\\nb", "a\\u202eb", "a\\x1b[31mb"]
    assert sorted(tags["scalars"]) == sorted(tags["images"]) == sorted(kept + escaped)
    assert all(message.isprintable() for message in caplog.messages)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_config_is_a_block_of_code_whatever_it_holds(tmp_path: Path) -> None:
    backend = TensorboardVisBackend(str(tmp_path))
    backend.add_config({"a": "<script>", "b": "x\r\u2028[y](javascript:z)"})
    backend.add_config("# heading\r<img src=x>\x0b[y](javascript:z)\n")
    backend.close()
    text = read(tmp_path).Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert all(line.startswith("    ") for line in text.splitlines())


def test_names_that_are_no_text_bring_no_false_word(tmp_path: Path, caplog: Any) -> None:
    backend = TensorboardVisBackend(str(tmp_path))
    backend.add_scalars({3: 0.5, None: 1.5})  # type: ignore[dict-item]
    backend.close()
    assert sorted(read(tmp_path).Tags()["scalars"]) == ["3", "None"]
    assert not caplog.messages
