"""SegVisualizationHook with a runner that is three attributes."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from seg_vis import LocalVisBackend, SegLocalVisualizer, SegVisualizationHook, overlay, to_rgb

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 12, 16, 3), dtype=np.uint8)
LABELS = RNG.integers(0, 19, (6, 12, 16))


class Recorder(SegLocalVisualizer):
    """Notes what it is asked to draw."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.calls: list[dict[str, Any]] = []

    def add_datasample(self, name: str, image: Any, data_sample: Any = None, **options: Any) -> None:
        self.calls.append({"name": name, "image": image, "sample": data_sample, **options})


class Run:
    """A run, as far as the hook may see it."""

    def __init__(self, visualizer: Any, finished: int = 40) -> None:
        self.iter = finished
        self.visualizer = visualizer
        self.logger = logging.getLogger("run")

    @property
    def train_dataloader(self) -> Any:
        raise AssertionError("a test must not build the training data")


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    for number, image in enumerate(IMAGES):
        cv2.imwrite(str(tmp_path / f"street{number}.png"), image[..., ::-1])
    return [str(tmp_path / f"street{number}.png") for number in range(len(IMAGES))]


def sample(number: int, path: str | None = None) -> Any:
    return SimpleNamespace(pred_sem_seg=SimpleNamespace(data=LABELS[number][None]), img_path=path)


def one_pass(hook: SegVisualizationHook, run: Run, paths: list[str], mode: str = "val", size: int = 1) -> list[str]:
    """Runs all points of a pass over the six images; the names that were drawn."""
    before = len(run.visualizer.calls)
    getattr(hook, f"before_{mode}_epoch")(run)
    for batch in range(0, len(paths), size):
        outputs = [sample(number, paths[number]) for number in range(batch, min(batch + size, len(paths)))]
        getattr(hook, f"after_{mode}_iter")(run, batch_idx=batch // size, data_batch=None, outputs=outputs)
    getattr(hook, f"after_{mode}_epoch")(run, metrics={})
    return [call["name"] for call in run.visualizer.calls[before:]]


@pytest.mark.parametrize("mode", ["val", "test"])
def test_every_sample_of_each_nth_batch(paths: list[str], mode: str) -> None:
    run = Run(Recorder())
    assert one_pass(SegVisualizationHook(draw=True, interval=2), run, paths, mode, size=2) == [
        f"{mode}_street2.png",
        f"{mode}_street3.png",
    ]


def test_the_picture_has_the_image_of_the_file_and_the_steps_so_far(paths: list[str]) -> None:
    run = Run(Recorder(), finished=120)
    one_pass(SegVisualizationHook(draw=True, interval=3, wait_time=0.5), run, paths)
    assert [call["step"] for call in run.visualizer.calls] == [120, 120]
    assert np.array_equal(run.visualizer.calls[0]["image"], IMAGES[2])
    assert run.visualizer.calls[0]["wait_time"] == 0.5
    assert not run.visualizer.calls[0]["show"]


def test_it_draws_nothing_unless_asked(paths: list[str]) -> None:
    run = Run(Recorder())
    assert one_pass(SegVisualizationHook(interval=1), run, paths) == []


def test_it_has_no_point_in_training() -> None:
    assert not [name for name in dir(SegVisualizationHook) if "train" in name]


def test_a_picture_that_cannot_be_read_is_reported_and_skipped(paths: list[str], caplog: Any) -> None:
    Path(paths[1]).write_text("no image")
    Path(paths[3]).unlink()
    run = Run(Recorder())
    with caplog.at_level(logging.WARNING, "run"):
        drawn = one_pass(SegVisualizationHook(draw=True, interval=1), run, paths)
    assert drawn == [f"val_street{number}.png" for number in (0, 2, 4, 5)]
    assert [paths[1] in caplog.messages[0], paths[3] in caplog.messages[1]] == [True, True]
    assert "is not an image that OpenCV can read" in caplog.text


def test_a_visualizer_that_fails_does_not_stop_the_run(paths: list[str], caplog: Any) -> None:
    class Broken(Recorder):
        def add_datasample(self, *args: Any, **kwargs: Any) -> None:
            raise RuntimeError("no ink")

    with caplog.at_level(logging.WARNING, "run"):
        one_pass(SegVisualizationHook(draw=True, interval=6), Run(Broken()), paths)
    assert "RuntimeError: no ink" in caplog.text


class Loader:
    """A loader of six samples."""

    dataset = range(6)


def test_the_same_samples_at_every_pass(paths: list[str]) -> None:
    run = Run(Recorder())
    run.val_dataloader = Loader()  # type: ignore[attr-defined]
    hook = SegVisualizationHook(draw=True, samples=3, seed=1)
    first, second = one_pass(hook, run, paths, size=4), one_pass(hook, run, paths, size=4)
    assert first == second
    assert len(first) == 3
    others = {tuple(one_pass(SegVisualizationHook(draw=True, samples=3, seed=s), run, paths)) for s in range(9)}
    assert len(others) > 1


def test_where_the_length_is_not_known_the_first_samples_are_taken(paths: list[str]) -> None:
    drawn = one_pass(SegVisualizationHook(draw=True, samples=2), Run(Recorder()), paths)
    assert drawn == ["val_street0.png", "val_street1.png"]


def test_at_most_so_many_pictures_a_pass(paths: list[str]) -> None:
    run = Run(Recorder())
    hook = SegVisualizationHook(draw=True, interval=1, max_pictures=2)
    assert len(one_pass(hook, run, paths)) == 2
    assert len(one_pass(hook, run, paths)) == 2


def test_images_that_the_batch_still_holds_are_not_read_again(paths: list[str]) -> None:
    """A batch as MMSegmentation makes it: BGR bytes, channels first, of the size of the labels."""
    for path in paths:
        Path(path).unlink()
    run = Run(Recorder())
    batch = {"inputs": [image[..., ::-1].transpose(2, 0, 1) for image in IMAGES[:2]]}
    outputs = [sample(0, paths[0]), sample(1, paths[1])]
    SegVisualizationHook(draw=True, interval=1).after_val_iter(run, 0, batch, outputs)
    assert [call["name"] for call in run.visualizer.calls] == ["val_street0.png", "val_street1.png"]
    assert np.array_equal(run.visualizer.calls[1]["image"], IMAGES[1])


def test_a_resized_or_normalised_batch_is_read_from_the_file(paths: list[str]) -> None:
    run = Run(Recorder())
    hook = SegVisualizationHook(draw=True, interval=1)
    hook.after_val_iter(run, 0, {"inputs": [np.zeros((3, 6, 8), np.uint8)]}, [sample(0, paths[0])])
    hook.after_val_iter(run, 1, {"inputs": np.zeros((1, 3, 12, 16), np.float32)}, [sample(1, paths[1])])
    assert [np.array_equal(call["image"], IMAGES[i]) for i, call in enumerate(run.visualizer.calls)] == [True, True]


def test_images_of_many_bands_are_drawn_from_the_batch(paths: list[str]) -> None:
    """No file reader of OpenCV knows them, so the file is left alone."""
    deep = RNG.integers(0, 9000, (7, 12, 16)).astype(np.float32)
    run = Run(Recorder())
    hook = SegVisualizationHook(draw=True, interval=1, bands=(5, 2, 0))
    hook.after_val_iter(run, 0, {"inputs": [deep]}, [sample(0, paths[0])])
    expected = to_rgb(deep, layout="chw", bands=(5, 2, 0), stretch=(2, 98))
    assert np.array_equal(run.visualizer.calls[0]["image"], expected)


def test_samples_without_a_path_are_drawn_from_the_batch() -> None:
    torch = pytest.importorskip("torch")
    run = Run(Recorder())
    batch = torch.from_numpy(IMAGES[:2]).permute(0, 3, 1, 2).float() / 255, None
    SegVisualizationHook(draw=True, interval=1).after_test_iter(run, 0, batch, [sample(0), sample(1)])
    assert [call["name"] for call in run.visualizer.calls] == ["test_0", "test_1"]
    assert np.array_equal(run.visualizer.calls[1]["image"], IMAGES[1])


def test_neither_path_nor_batch_is_reported(caplog: Any) -> None:
    with caplog.at_level(logging.WARNING, "run"):
        SegVisualizationHook(draw=True, interval=1).after_val_iter(Run(Recorder()), 0, None, [sample(0)])
    assert "neither the sample has an img_path nor the batch the image" in caplog.text


def test_addresses_are_read_through_fsspec() -> None:
    fsspec = pytest.importorskip("fsspec")
    with fsspec.open("memory://pictures/a.png", "wb") as file:
        file.write(cv2.imencode(".png", IMAGES[0][..., ::-1])[1].tobytes())
    run = Run(Recorder())
    hook = SegVisualizationHook(draw=True, interval=1, file_client_args={"backend": "memory"})
    hook.after_val_iter(run, 0, None, [sample(0, "memory://pictures/a.png")])
    assert run.visualizer.calls[0]["name"] == "val_a.png"
    assert np.array_equal(run.visualizer.calls[0]["image"], IMAGES[0])


def test_pictures_are_all_written_when_the_pass_ends(paths: list[str], tmp_path: Path) -> None:
    visualizer = SegLocalVisualizer(vis_backends={"type": LocalVisBackend}, save_dir=str(tmp_path), alpha=0.5)
    run = Run(visualizer)
    hook = SegVisualizationHook(draw=True, interval=1)
    hook.before_run(run)
    for number, path in enumerate(paths):
        hook.after_val_iter(run, number, None, [sample(number, path)])
    hook.after_val_epoch(run)
    written = sorted((tmp_path / "vis_data/vis_image").iterdir())
    assert [path.name for path in written] == [f"val_street{number}.png_40.png" for number in range(6)]
    assert hook._visualizer is visualizer


def test_subclasses_may_write_the_one_method_of_the_reference(paths: list[str]) -> None:
    class Own(SegVisualizationHook):
        def _after_iter(self, runner: Any, batch_idx: int, data_batch: Any, outputs: Any, mode: str) -> None:
            self._visualizer.add_datasample(f"own_{mode}_{batch_idx}", IMAGES[0])

    run = Run(Recorder())
    hook = Own(draw=True)
    hook.before_run(run)
    assert one_pass(hook, run, paths[:2]) == ["own_val_0", "own_val_1"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems always have a screen")
def test_windows_that_cannot_open_stop_the_run_before_it_starts(monkeypatch: Any) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(RuntimeError, match="show=True needs"):
        SegVisualizationHook(draw=True, show=True).before_run(Run(Recorder()))


def test_an_opencv_that_cannot_be_imported_stops_the_run_before_it_starts(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    SegVisualizationHook(draw=False).before_run(Run(Recorder()))
    with pytest.raises(ImportError, match="opencv-python"):
        SegVisualizationHook(draw=True).before_run(Run(Recorder()))


def test_show_keeps_the_backends(paths: list[str], tmp_path: Path, monkeypatch: Any) -> None:
    shown: list[str] = []
    visualizer = SegLocalVisualizer(vis_backends={"type": LocalVisBackend}, save_dir=str(tmp_path))
    monkeypatch.setattr(visualizer, "show", lambda picture, win_name, wait_time: shown.append(win_name))
    SegVisualizationHook(draw=True, interval=1, show=True).after_val_iter(
        Run(visualizer), 0, None, [sample(0, paths[0])]
    )
    assert shown == ["val_street0.png"]
    assert (tmp_path / "vis_data/vis_image/val_street0.png_40.png").is_file()


def test_other_ranks_do_not_even_read(monkeypatch: Any, caplog: Any) -> None:
    monkeypatch.setenv("RANK", "2")
    SegVisualizationHook(draw=True, interval=1).after_val_iter(Run(Recorder()), 0, None, [sample(0, "gone.png")])
    assert caplog.text == ""


@pytest.mark.parametrize(
    "arguments",
    [
        {"interval": 0},
        {"samples": 0},
        {"max_pictures": -1},
        {"backend_args": {}, "file_client_args": {}},
        {"order": "gbr"},
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be 1 or more|old name|order must be"):
        SegVisualizationHook(**arguments)
    with pytest.raises(TypeError, match="interval must be a whole number, got '5'"):
        SegVisualizationHook(interval="5")  # type: ignore[arg-type]


def test_every_n_inner_iters_counts_from_one() -> None:
    hook = SegVisualizationHook()
    assert [hook.every_n_inner_iters(i, 3) for i in range(6)] == [False, False, True, False, False, True]
    assert not hook.every_n_inner_iters(0, 0)


def test_the_plain_picture_is_the_overlay(paths: list[str], tmp_path: Path) -> None:
    visualizer = SegLocalVisualizer(alpha=0.5)
    hook = SegVisualizationHook(draw=True, interval=1, picture="plain")
    hook.after_val_iter(Run(visualizer), 0, None, [sample(0, paths[0])])
    plain = overlay(IMAGES[0], LABELS[0], palette="cityscapes")
    assert visualizer.get_image().shape == plain.shape


def test_pictures_have_headings_and_a_legend_where_the_visualizer_knows_them(paths: list[str]) -> None:
    class Own(SegLocalVisualizer):
        """A user's, with the arguments that MMSegmentation documents."""

        def add_datasample(  # type: ignore[override]
            self, name: str, image: Any, data_sample: Any = None, show: bool = False, wait_time: Any = 0, step: int = 0
        ) -> None:
            super().add_datasample(name, image, data_sample, step=step)

    for visualizer, sheet in (
        (SegLocalVisualizer(), True),
        (SegLocalVisualizer(legacy_blend=True), False),
        (Own(), False),
    ):
        hook = SegVisualizationHook(draw=True, interval=1)
        hook.after_val_iter(Run(visualizer), 0, None, [sample(0, paths[0])])
        assert (visualizer.get_image().shape != IMAGES[0].shape) is sheet
    with pytest.raises(ValueError, match="picture must be 'sheet' or 'plain', got 'both'"):
        SegVisualizationHook(picture="both")


def test_images_of_one_name_in_two_folders_are_two_pictures(tmp_path: Path) -> None:
    files = []
    for folder in "ab":
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "1.png"), IMAGES[0])
        files.append(str(tmp_path / folder / "1.png"))
    hook, run = SegVisualizationHook(draw=True, interval=1), Run(Recorder())
    assert one_pass(hook, run, files) == ["val_1.png", "val_b_1.png"]
    assert one_pass(hook, run, files) == ["val_1.png", "val_b_1.png"], "curves of pictures need the same name each time"


def test_names_of_files_are_printed_without_control_characters(tmp_path: Path, caplog: Any) -> None:
    hook = SegVisualizationHook(draw=True, interval=1)
    one_pass(hook, Run(Recorder()), [str(tmp_path / "no\x1b[31m\u202e\nERROR such file.png")])
    assert "no picture of" in caplog.text
    assert r"no\x1b[31m\u202e\nERROR such" in caplog.text
