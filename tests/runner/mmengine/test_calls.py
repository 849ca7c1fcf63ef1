"""Calls of the runner in MMEngine's form."""

from __future__ import annotations

import pytest
from seg_runner.mmengine.calls import load_options, one_of, resume_without, save_options


def test_what_goes_into_a_checkpoint() -> None:
    assert save_options((), {}, True, False) == (True, False, {})
    assert save_options((None, False, True, {"note": 1}, False, None), {}, True, True) == (False, True, {"note": 1})
    assert (
        save_options((), {"save_param_scheduler": False, "backend_args": {"backend": "local"}}, True, True)[1] is False
    )


def test_files_elsewhere_are_refused() -> None:
    with pytest.raises(ValueError, match=r"written to folders here"):
        save_options((), {"backend_args": {"backend": "petrel"}}, True, True)


def test_what_loading_takes() -> None:
    assert load_options(("cpu", False), {"unsafe": True}) == {"strict": False, "unsafe": True}
    assert load_options((), {"map_location": "cpu", "revise_keys": [("^a", "b")]}) == {"revise_keys": [("^a", "b")]}


def test_what_a_resume_leaves_out() -> None:
    assert resume_without((), {}) == []
    assert resume_without((False,), {"resume_param_scheduler": False}) == ["optimizer", "grads", "param_schedulers"]


def test_arguments_that_there_are_none_of() -> None:
    with pytest.raises(TypeError, match=r"'resume_optimiser'.* Did you mean 'resume_optimizer'"):
        resume_without((), {"resume_optimiser": False})
    with pytest.raises(TypeError, match=r"'strict' twice"):
        load_options(("cpu", True), {"strict": False})
    with pytest.raises(TypeError, match=r"at most 3 arguments"):
        resume_without((True, True, "cpu", 1), {})


def test_a_path_by_either_name() -> None:
    named = {"out_dir": "there", "meta": None}
    assert one_of("out_dir", None, named) == "there"
    assert named == {"meta": None}
    assert one_of("filename", "here.pth", {}) == "here.pth"
    with pytest.raises(TypeError, match=r"a path is missing"):
        one_of("filename", None, {})
