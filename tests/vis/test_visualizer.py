"""Visualizer and SegLocalVisualizer: pictures of samples, meta, state."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from seg_vis import BaseVisBackend, LocalVisBackend, SegLocalVisualizer, Visualizer, error_map, get_palette, overlay
from seg_vis.drawing.feature_maps import depth_map
from seg_vis.segmentation_visualizer import error_title

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
TRUTH, GUESS = RNG.integers(0, 19, (20, 30)), RNG.integers(0, 19, (20, 30))


def tinted(labels: np.ndarray, alpha: float = 0.8, palette: Any = "cityscapes") -> np.ndarray:
    return overlay(IMAGE, labels, palette=palette, alpha=alpha)


def drawn(visualizer: SegLocalVisualizer, sample: Any, **options: Any) -> np.ndarray:
    options = {"with_labels": False, **options}
    visualizer.add_datasample("x", IMAGE, sample, **options)
    return visualizer.get_image()


BOTH = {"gt_sem_seg": TRUTH, "pred_sem_seg": GUESS}


def test_truth_left_prediction_right() -> None:
    picture = drawn(SegLocalVisualizer(), BOTH)
    assert np.array_equal(picture, np.concatenate([tinted(TRUTH), tinted(GUESS)], axis=1))


def test_either_alone_or_neither() -> None:
    visualizer = SegLocalVisualizer(alpha=0.5)
    assert np.array_equal(drawn(visualizer, BOTH, draw_pred=False), tinted(TRUTH, 0.5))
    assert np.array_equal(drawn(visualizer, BOTH, draw_gt=False), tinted(GUESS, 0.5))
    assert np.array_equal(drawn(visualizer, BOTH, draw_gt=False, draw_pred=False), IMAGE)
    assert np.array_equal(drawn(visualizer, {"pred_sem_seg": GUESS}), tinted(GUESS, 0.5))
    assert np.array_equal(drawn(visualizer, None), IMAGE)


def test_samples_by_shape() -> None:
    torch = pytest.importorskip("torch")
    sample = SimpleNamespace(
        gt_sem_seg=SimpleNamespace(data=torch.from_numpy(TRUTH)[None]), pred_sem_seg=torch.from_numpy(GUESS)[None]
    )
    assert np.array_equal(drawn(SegLocalVisualizer(), sample), drawn(SegLocalVisualizer(), BOTH))


def test_image_on_the_left_and_errors_on_the_right() -> None:
    picture = drawn(SegLocalVisualizer(), BOTH, with_image=True, with_errors=True)
    assert picture.shape == (20, 120, 3)
    assert np.array_equal(picture[:, :30], IMAGE)
    assert np.array_equal(picture[:, 90:], error_map(IMAGE, TRUTH, GUESS))


def test_depth_lies_under_the_image() -> None:
    depth = RNG.random((1, 10, 15))
    picture = drawn(SegLocalVisualizer(), {"gt_depth_map": depth, **BOTH})
    assert picture.shape == (40, 60, 3)
    assert np.array_equal(picture[20:, :30], depth_map(depth, (20, 30)))
    assert np.array_equal(drawn(SegLocalVisualizer(), {"pred_depth_map": depth})[:20], IMAGE)


def test_both_spellings_of_names() -> None:
    large = np.zeros((120, 160, 3), np.uint8)
    labels = {"pred_sem_seg": np.zeros((120, 160), int)}
    pictures = []
    for options in ({"with_labels": True}, {"withLabels": True}, {}, {"withLabels": False}):
        visualizer = SegLocalVisualizer()
        visualizer.add_datasample("x", large, labels, **options)
        pictures.append(visualizer.get_image())
    assert np.array_equal(pictures[0], pictures[1])
    assert np.array_equal(pictures[0], pictures[2])
    assert not np.array_equal(pictures[0], pictures[3])
    with pytest.raises(TypeError, match="does not know with_label; it takes step, with_labels"):
        SegLocalVisualizer().add_datasample("x", large, labels, with_label=True)


def test_classes_and_palette_mean_what_they_say() -> None:
    visualizer = SegLocalVisualizer(classes=["road", "car"], palette=[[1, 2, 3], [4, 5, 6]], alpha=1)
    assert visualizer.dataset_meta == {"classes": ("road", "car"), "palette": [[1, 2, 3], [4, 5, 6]]}
    assert drawn(visualizer, {"pred_sem_seg": TRUTH % 2})[TRUTH % 2 == 1].tolist()[0] == [4, 5, 6]


def test_what_is_left_open_is_filled_in() -> None:
    assert len((SegLocalVisualizer().dataset_meta or {})["classes"]) == 19
    assert (SegLocalVisualizer(dataset_name="voc").dataset_meta or {})["classes"][1] == "aeroplane"
    made = SegLocalVisualizer(classes=["a", "b", "c"]).dataset_meta or {}
    assert made["palette"] == get_palette("distinct", 3).tolist()
    named = SegLocalVisualizer(classes=[str(i) for i in range(19)], dataset_name="cityscapes").dataset_meta or {}
    assert named["palette"] == get_palette("cityscapes").tolist()
    assert named["classes"][3] == "3"


@pytest.mark.parametrize(
    "arguments",
    [
        {"classes": ["a"], "palette": [[0, 0, 0], [1, 1, 1]]},
        {"classes": ["a"], "dataset_name": "cityscapes"},
        {"dataset_name": "cityscape"},
        {"alpha": 1.5},
    ],
)
def test_bad_meta_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"classes and|did you mean|alpha must"):
        SegLocalVisualizer(**arguments)


def test_loops_set_the_meta() -> None:
    visualizer = SegLocalVisualizer(alpha=1)
    visualizer.dataset_meta = {"classes": ("a", "b"), "palette": None, "label_map": {}}
    assert np.array_equal(
        drawn(visualizer, {"pred_sem_seg": TRUTH % 2}), tinted(TRUTH % 2, 1, get_palette("distinct", 2))
    )
    visualizer.dataset_meta = None
    assert drawn(visualizer, {"pred_sem_seg": TRUTH}).shape == IMAGE.shape


def test_options_of_the_constructor_reach_the_picture() -> None:
    only = SegLocalVisualizer(only=[3], alpha=0.5)
    assert np.array_equal(drawn(only, {"pred_sem_seg": TRUTH}), tinted(np.where(TRUTH == 3, 3, 255), 0.5))
    ignoring = SegLocalVisualizer(ignore_index=0, alpha=0.5)
    expected = overlay(IMAGE, TRUTH, palette="cityscapes", ignore_index=0)
    assert np.array_equal(drawn(ignoring, {"pred_sem_seg": TRUTH}), expected)


def test_a_file_instead_of_the_backends(tmp_path: Path) -> None:
    visualizer = SegLocalVisualizer(vis_backends={"type": LocalVisBackend}, save_dir=str(tmp_path))
    file = tmp_path / "deep/er/picture.png"
    visualizer.add_datasample("x", IMAGE, BOTH, out_file=str(file), with_labels=False)
    assert np.array_equal(cv2.imread(str(file))[..., ::-1], visualizer.get_image())
    assert not (tmp_path / "vis_data").exists()


@pytest.mark.parametrize("legacy", [False, True])
def test_a_picture_takes_no_random_numbers(legacy: bool) -> None:
    torch = pytest.importorskip("torch")
    visualizer = SegLocalVisualizer(legacy_blend=legacy)
    visualizer.set_dataset_meta(classes=[str(n) for n in range(19)], palette=get_palette("cityscapes").tolist())
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    drawn(visualizer, BOTH, with_labels=True)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])


def test_the_backends_get_the_picture_at_its_step(tmp_path: Path) -> None:
    visualizer = SegLocalVisualizer(vis_backends={"type": LocalVisBackend}, save_dir=str(tmp_path))
    visualizer.add_datasample("val/x.jpg", IMAGE, BOTH, step=7)
    stored = cv2.imread(str(tmp_path / "vis_data/vis_image/val/x.jpg_7.png"))[..., ::-1]
    assert np.array_equal(stored, visualizer.get_image())


def test_background_writing_keeps_what_was_drawn(tmp_path: Path) -> None:
    """The caller may change image and labels right after the call."""
    visualizer = SegLocalVisualizer(vis_backends={"type": LocalVisBackend}, save_dir=str(tmp_path))
    visualizer.write_in_background(queue_size=2)
    image = IMAGE.copy()
    for step in range(12):
        image[:] = step
        visualizer.add_image("x", image, step)
    image[:] = 99
    visualizer.close()
    for step in range(12):
        assert (cv2.imread(str(tmp_path / f"vis_data/vis_image/x_{step}.png")) == step).all()


def test_sizes_must_agree() -> None:
    with pytest.raises(ValueError, match="ground truth is 3 x 3 and the image 20 x 30"):
        SegLocalVisualizer().add_datasample("x", IMAGE, {"gt_sem_seg": np.zeros((3, 3), int)})


def test_scalars_config_and_graph_reach_every_backend(tmp_path: Path) -> None:
    class Keeper(BaseVisBackend):
        got: list[Any] = []

        def add_graph(self, model: Any, data_batch: Any = None, **kwargs: Any) -> None:
            self.got.append(model)

    visualizer = Visualizer(vis_backends=[Keeper(), {"type": LocalVisBackend}], save_dir=str(tmp_path))
    visualizer.add_config({"a": 1})
    visualizer.add_scalar("loss", 1.0, 1)
    visualizer.add_scalars({"loss": 2.0}, 2, file_path="own.json")
    visualizer.add_graph("model")
    visualizer.add_datasample("x", IMAGE)
    visualizer.close()
    rows = [json.loads(line) for line in (tmp_path / "vis_data/scalars.json").read_text().splitlines()]
    assert rows == [{"loss": 1.0, "step": 1}, {"loss": 2.0, "step": 2}]
    assert (tmp_path / "vis_data/own.json").is_file()
    assert Keeper.got == ["model"]


def test_state_goes_to_the_backends_that_have_one() -> None:
    class Run(BaseVisBackend):
        def __init__(self, number: str | None = None) -> None:
            super().__init__()
            self.number = number

        def state_dict(self) -> dict[str, Any]:
            return {} if self.number is None else {"run_id": self.number}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.number = state["run_id"]

    state = Visualizer(vis_backends=[Run("abc"), BaseVisBackend()]).state_dict()
    assert state == {"Run": {"run_id": "abc"}}
    new = Run()
    Visualizer(vis_backends=[new]).load_state_dict({**state, "Gone": {"x": 1}})
    assert new.number == "abc"
    assert Visualizer(vis_backends=[Run()]).state_dict() == {}


def test_other_ranks_do_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("RANK", "1")
    visualizer = SegLocalVisualizer(vis_backends={"type": LocalVisBackend}, save_dir=str(tmp_path), image=IMAGE)
    visualizer.add_scalar("loss", 1.0)
    visualizer.add_datasample("x", IMAGE, BOTH, out_file=str(tmp_path / "x.png"))
    assert visualizer.draw_points(np.array([[1, 1]])).draw_points(np.array([[1, 1]])) is visualizer
    assert visualizer.get_image() is None
    visualizer.close()
    assert list(tmp_path.iterdir()) == []


def test_unknown_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="backend must be 'cv2', got 'qt'"):
        Visualizer(image=IMAGE).show(backend="qt")


class Rows(BaseVisBackend):
    """Keeps what it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.got: list[Any] = []

    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        self.got.append((name, value, step))


@pytest.mark.parametrize(
    "value",
    [2, 2.0, True, np.float32(2), np.int64(2), np.array(2.0), np.array([2]), np.array([[2]]), Decimal(2), Fraction(2)],
)
@pytest.mark.parametrize("step", [7, np.int32(7), 7.0, np.float64(7), np.array(7), np.array([7]), Decimal(7)])
def test_any_kind_of_number_is_a_value_and_a_step(tmp_path: Path, value: Any, step: Any) -> None:
    rows = Rows()
    pytest.importorskip("tensorboard")
    local, events = ({"type": f"{name}VisBackend", "save_dir": str(tmp_path)} for name in ("Local", "Tensorboard"))
    visualizer = Visualizer(vis_backends=[rows, local, events])
    visualizer.add_scalar("loss", value, step)
    visualizer.add_scalars({"acc": value}, step)
    visualizer.close()
    number = 1 if value is True else 2
    assert rows.got == [("loss", number, 7), ("acc", number, 7)]
    assert {type(part) for row in rows.got for part in row} <= {str, int, float}
    lines = (tmp_path / "scalars.json").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"loss": number, "step": 7}, {"acc": number, "step": 7}]


def test_tensors_of_one_element_are_numbers() -> None:
    torch = pytest.importorskip("torch")
    rows = Rows()
    visualizer = Visualizer(vis_backends=[rows])
    weight = torch.ones(1, requires_grad=True)
    for value in (torch.tensor(1.0), weight * 1, torch.ones(1, 1, dtype=torch.bfloat16), torch.tensor(True)):
        visualizer.add_scalar("x", value, torch.tensor(3))
    assert rows.got == [("x", 1, 3)] * 4
    with pytest.raises(TypeError, match=r"one element, got Tensor of shape \(2,\)"):
        visualizer.add_scalar("x", torch.ones(2))


@pytest.mark.parametrize("value", [None, "1.0", [1.0], {}, np.ones(2), 1j])
def test_what_is_no_number_is_one_error_before_anything_is_written(tmp_path: Path, value: Any) -> None:
    rows = Rows()
    visualizer = Visualizer(vis_backends=[rows, {"type": "LocalVisBackend", "save_dir": str(tmp_path / "x")}])
    with pytest.raises(TypeError, match=r"add_scalar\('loss', \.\.\.\) takes one number"):
        visualizer.add_scalar("loss", value)
    for backend in visualizer._vis_backends.values():
        if not isinstance(backend, Rows):
            with pytest.raises(TypeError, match="takes one number"):
                backend.add_scalar("loss", value)
    assert rows.got == []
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("step", [None, 1.5, float("nan"), float("inf"), "7", 2**70, np.ones(2)])
def test_a_step_that_is_no_whole_number_is_one_error(tmp_path: Path, step: Any) -> None:
    rows = Rows()
    visualizer = Visualizer(vis_backends=[rows, {"type": "LocalVisBackend", "save_dir": str(tmp_path / "x")}])
    for call in (
        lambda: visualizer.add_scalar("loss", 1.0, step),
        lambda: visualizer.add_scalars({"loss": 1.0}, step),
        lambda: visualizer.add_image("a", np.zeros((4, 4, 3), np.uint8), step),
    ):
        with pytest.raises((TypeError, ValueError), match="step must be a whole number"):
            call()
    assert rows.got == []
    assert not (tmp_path / "x").exists()


def test_numbers_beyond_64_bits_and_negative_steps_go_through(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    config = [{"type": f"{name}VisBackend", "save_dir": str(tmp_path)} for name in ("Local", "Tensorboard")]
    visualizer = Visualizer(vis_backends=config)
    visualizer.add_scalars({"big": 10**400, "small": -(2**65), "nan": float("nan")}, -3)
    visualizer.close()
    row = json.loads((tmp_path / "scalars.json").read_text())
    assert row == {"big": 10**400, "small": -(2**65), "nan": None, "step": -3}


SIZES = [(8, 8), (64, 64), (64, 200), (300, 90), (400, 600), (2100, 2500)]


@pytest.mark.parametrize("size", SIZES)
def test_a_sheet_has_all_four_and_a_legend_of_what_occurs(size: tuple[int, int]) -> None:
    visualizer = SegLocalVisualizer(classes=["road", "car", "a long name " * 9, "none"], palette="distinct")
    truth = np.zeros(size, int)
    truth[: size[0] // 2] = 1
    sample = {"gt_sem_seg": truth, "pred_sem_seg": np.roll(truth, 2, 0)}
    image = np.full((*size, 3), 200, np.uint8)
    visualizer.add_datasample("x", image, sample, layout="sheet")
    four = visualizer.get_image()
    visualizer.add_datasample("x", image, {"pred_sem_seg": truth}, layout="sheet")
    two = visualizer.get_image()
    visualizer.add_datasample("x", image, {"pred_sem_seg": truth * 0 + 2}, layout="sheet")
    assert four.size > two.size
    assert visualizer.get_image().shape[1] == two.shape[1]  # a long name does not widen the sheet
    assert 192 <= max(four.shape[:2]) <= 2 * 2048 + 400
    colours = get_palette("distinct", 4)
    for label, there in ((0, True), (1, True), (3, False)):
        assert (four == colours[label]).all(axis=2).any() == there


def test_a_sheet_without_labels_is_the_image(caplog: Any) -> None:
    visualizer = SegLocalVisualizer()
    visualizer.add_datasample("x", IMAGE, layout="sheet")
    assert visualizer.get_image().shape[0] > IMAGE.shape[0]
    visualizer.add_datasample("x", IMAGE, {"gt_sem_seg": TRUTH * 0 + 255, "pred_sem_seg": GUESS}, layout="sheet")
    with pytest.raises(ValueError, match="layout must be one of 'plain', 'sheet', got 'x'"):
        visualizer.add_datasample("x", IMAGE, layout="x")


def test_a_depth_map_has_a_place_on_the_sheet() -> None:
    visualizer = SegLocalVisualizer()
    depth = {"pred_depth_map": np.linspace(0, 9, 600).reshape(20, 30)}
    visualizer.add_datasample("x", IMAGE, {**BOTH, **depth}, layout="sheet")
    with_depth = visualizer.get_image()
    visualizer.add_datasample("x", IMAGE, BOTH, layout="sheet")
    assert with_depth.size > visualizer.get_image().size


def test_the_errors_are_counted_in_the_heading() -> None:
    truth, guess = np.array([[0, 1, 255, 2]]), np.array([[0, 1, 0, 1]])
    assert error_title(truth, guess, 255) == "errors: 33.3%"
    assert error_title(truth, guess, None) == "errors: 50.0%"
    assert error_title(truth * 0 + 255, guess, 255) == "errors: no label"
