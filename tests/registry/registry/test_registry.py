"""Registries: every way to register, look-ups with parents and scopes, misses and doubles that explain themselves."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import seg_registry
from seg_registry import Config, DuplicateNameError, Registry, RegistryError
from seg_registry.registry import catalog
from seg_registry.registry.catalog import HOOKS, KINDS, kind_of


class Tiny:
    def __init__(self, width: int = 8, *, depth: int = 1) -> None:
        if width < 0:
            raise ValueError("negative width")
        self.width, self.depth = width, depth


def helper(x: int = 1) -> int:
    return x


@pytest.fixture
def parts() -> Registry:
    registry = Registry("part")
    registry.register_module(module=Tiny)
    return registry


def test_every_way_to_register() -> None:
    registry = Registry("part")

    @registry.register_module()
    class Plain: ...

    @registry.register_module(name="Other")
    class Named: ...

    @registry.register_module(name=["One", "Two"])
    class Several: ...

    @registry.register_module()
    def function() -> None: ...

    assert registry.register_module(module=helper) is helper
    assert registry.register_module("short", module=Tiny) is Tiny
    registry.register_module(name="half", module=partial(helper, 2))
    names = {"Plain", "Other", "One", "Two", "function", "helper", "short", "half"}
    assert set(registry) == set(registry.module_dict) == names
    assert len(registry) == len(names)
    assert registry.get("One") is registry.get("Two") is Several
    assert "Named" not in registry
    assert registry.get("Other") is Named
    assert "Plain" in repr(registry)


def test_wrong_registrations() -> None:
    registry = Registry("part")
    with pytest.raises(TypeError, match="with parentheses"):
        registry.register_module(Tiny)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="force must be"):
        registry.register_module(force="yes")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="classes and functions"):
        registry.register_module(module=3)
    with pytest.raises(TypeError, match="name must be"):
        registry.register_module(name=[3], module=Tiny)  # type: ignore[list-item]
    with pytest.raises(TypeError, match="give name"):
        registry.register_module(module=partial(helper))


def test_a_double_is_reported_when_it_is_looked_up_with_both_places(parts: Registry) -> None:
    parts.register_module(name="Tiny", module=helper)  # what an import may do: no error
    with pytest.raises(DuplicateNameError, match=r"test_registry\.py:\d+\) and .*test_registry\.py:\d+\); rename"):
        parts.get("Tiny")
    assert "Tiny" in parts
    parts.register_module(name="Tiny", force=True, module=helper)
    assert parts.get("Tiny") is helper
    parts.register_module(name="Tiny", module=helper)
    assert parts.get("Tiny") is helper


def test_a_module_imported_again_is_no_double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "again_imported.py").write_text(
        "from seg_registry.registry.catalog import HOOKS\n\n@HOOKS.register_module()\nclass AgainImported: ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import importlib

    module = importlib.import_module("again_imported")
    importlib.reload(module)
    assert HOOKS.get("AgainImported").__module__ == "again_imported"


def test_find_says_where(parts: Registry) -> None:
    place = parts.find("Tiny")
    assert (place.module, Path(place.file).name) == (Tiny.__module__, "test_registry.py")
    assert Path(__file__).read_text().splitlines()[place.line - 1] == "class Tiny:"
    assert str(place).endswith(f"test_registry.py:{place.line})")
    parts.register_module(name="c", module=len)
    assert parts.find("c") == ("builtins", "", 0)


def test_a_miss_names_registry_near_names_and_count(parts: Registry) -> None:
    with pytest.raises(RegistryError, match=r"'Tinny' is not in the part registry \(1 names\); did you mean 'Tiny'"):
        parts.get("Tinny")
    with pytest.raises(KeyError):
        parts.build({"type": "Tinny"})
    assert "Tinny" not in parts
    assert 3 not in parts
    with pytest.raises(TypeError, match="got int"):
        parts.get(3)  # type: ignore[arg-type]


def test_a_dotted_path_that_every_config_may_use(parts: Registry) -> None:
    where = f"{__name__}.test_a_dotted_path_that_every_config_may_use.<locals>.Own"

    @parts.register_module(name="AnotherName")
    class Own: ...

    assert parts.get(where) is Own
    assert "seg_registry.Registry" not in parts
    for path in ("os.getpid", "no_such_package.Name", "absent.Tiny"):
        with pytest.raises(RegistryError, match=f"'{path}' is not in the part registry"):
            parts.get(path)


def test_a_miss_shows_every_import_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "breaks_one.py").write_text("import no_such_package_one\n")
    (tmp_path / "breaks_two.py").write_text("from seg_registry import no_such_name\n")
    (tmp_path / "brings_it.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = Registry("part", locations=["breaks_one", "breaks_two", "brings_it"])
    with pytest.raises(RegistryError, match=r"breaks_one, breaks_two, brings_it\. 2 attempt") as caught:
        registry.get("Nothing")
    assert "no_such_package_one" in str(caught.value)
    assert "no_such_name" in str(caught.value)
    cause = caught.value.__cause__
    assert isinstance(cause, BaseExceptionGroup)
    assert [type(each) for each in cause.exceptions] == [ModuleNotFoundError, ImportError]
    single = Registry("part", locations=["breaks_one"])
    with pytest.raises(RegistryError) as once:
        single.get("Nothing")
    assert isinstance(once.value.__cause__, ModuleNotFoundError)


def test_locations_are_imported_at_the_first_look_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "late_module.py").write_text("import seg_late\nseg_late.R.register_module(name='Late', module=dict)\n")
    (tmp_path / "seg_late.py").write_text(
        "from seg_registry import Registry\nR = Registry('part', locations=['late_module'])\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import importlib

    registry = importlib.import_module("seg_late").R
    assert "late_module" not in sys.modules
    assert registry.get("Late") is dict


def test_parents_and_scopes() -> None:
    root = Registry("part", scope="root")
    child = Registry("part", parent=root, scope="child")
    other = Registry("part", parent=root, scope="other")
    root.register_module(name="R", module=Tiny)
    child.register_module(name="C", module=helper)
    other.register_module(name="R", module=helper)
    assert child.get("R") is Tiny
    assert child.get("C") is child.get("child.C") is root.get("child.C") is other.get("child.C") is helper
    assert (root.get("R"), root.get("other.R")) == (Tiny, helper)
    assert "C" not in root
    assert child.root is root
    with pytest.raises(RegistryError, match="already has a child"):
        Registry("part", parent=root, scope="child")


def test_a_build_function_is_taken_from_the_parent() -> None:
    def build(cfg: Any, *args: Any, registry: Registry, **kwargs: Any) -> Any:
        return registry.name, cfg, args, kwargs

    root = Registry("root", build_func=build)
    child = Registry("child", parent=root, scope="c")
    assert child.build({"type": 1}, 2, x=3) == ("child", {"type": 1}, (2,), {"x": 3})


def test_building(parts: Registry) -> None:
    cfg = {"type": "Tiny", "width": 16, "_scope_": "x", "_delete_": True}
    before = dict(cfg)
    assert parts.build(cfg).width == 16
    assert cfg == before
    assert parts.build({"type": "Tiny"}, depth=3).depth == 3
    assert parts.build({"type": "Tiny", "depth": 2}, depth=3).depth == 2
    assert parts.build({"width": 2}, {"type": "Tiny"}).width == 2
    assert parts.build({"width": 2}, default_args={"type": "Tiny", "depth": 5}).depth == 5
    assert parts.build({"type": Tiny}).width == 8
    assert parts.build(Config({"type": "Tiny", "width": 3})).width == 3
    assert parts.get(Tiny) is Tiny


def test_a_config_without_a_type(parts: Registry) -> None:
    with pytest.raises(KeyError, match=r"no 'type' in .*; did you mean 'typ'"):
        parts.build({"typ": "Tiny"})
    with pytest.raises(TypeError, match="must be a name, a class or a function"):
        parts.build({"type": 3})
    with pytest.raises(TypeError, match="built from a dict"):
        parts.build("Tiny")  # type: ignore[arg-type]


def test_a_constructor_that_raises_keeps_its_exception_and_gains_one_note(parts: Registry, tmp_path: Path) -> None:
    (tmp_path / "c.py").write_text("model = dict(\n    part=dict(\n        type='Tiny', width=-1))\n")
    cfg = Config.fromfile(tmp_path / "c.py")
    with pytest.raises(ValueError, match="negative width") as caught:
        parts.build(cfg.model.part)
    (note,) = caught.value.__notes__
    assert note.startswith("while building 'model.part' (")
    assert "c.py:3): " in note
    assert "Tiny(width: 'int' = 8, *, depth: 'int' = 1)" in note
    assert caught.traceback[-1].name == "__init__"


def test_an_unknown_argument_names_the_nearest_parameter(parts: Registry) -> None:
    with pytest.raises(TypeError) as caught:
        parts.build({"type": "Tiny", "widht": 3})
    assert "it has no parameter 'widht', did you mean 'width'?" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("given", "meant"), [("vis_backend", "vis_backends"), ("sze", "size"), ("time", "times"), ("shufle", "shuffle")]
)
def test_an_argument_that_a_class_hands_on_names_the_nearest_above(parts: Registry, given: str, meant: str) -> None:
    class Base:
        def __init__(self, vis_backends: Any = None, size: Any = None, times: int = 1, shuffle: bool = True) -> None:
            pass

    class Between(Base):
        def __init__(self, alpha: float = 1, **options: Any) -> None:
            super().__init__(**options)

    @parts.register_module()
    class Part(Between):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)

    with pytest.raises(TypeError) as caught:
        parts.build({"type": "Part", given: 3, "alpha": 2})
    (note,) = caught.value.__notes__
    assert f"it has no parameter {given!r}, did you mean {meant!r}?" in note
    assert "'alpha'" not in note.partition("?")[0]


def test_a_class_that_takes_all_is_not_blamed_for_its_arguments(parts: Registry) -> None:
    @parts.register_module()
    class Takes:
        def __init__(self, width: int = 1, **options: Any) -> None:
            raise TypeError("no such 'colour'")

    with pytest.raises(TypeError) as caught:
        parts.build({"type": "Takes", "widht": 3})
    assert "it has no parameter" not in caught.value.__notes__[0]


def test_a_part_inside_a_part_has_the_only_note() -> None:
    registry = Registry("part")

    @registry.register_module()
    class Outer:
        def __init__(self, inner: dict[str, Any]) -> None:
            registry.build(inner)

    registry.register_module(module=Tiny)
    with pytest.raises(ValueError, match="negative") as caught:
        registry.build({"type": "Outer", "inner": {"type": "Tiny", "width": -1}})
    (note,) = caught.value.__notes__
    assert "Tiny" in note


def test_something_without_a_signature_gets_a_note_too() -> None:
    registry = Registry("part")
    registry.register_module(name="int", module=int)
    with pytest.raises(TypeError) as caught:
        registry.build({"type": "int", "nothing": 1})
    assert "builtins.int" in caught.value.__notes__[0]


def test_the_catalog_has_all_registries_of_the_reference() -> None:
    assert len(KINDS) == 23
    assert kind_of("hook").registry is HOOKS
    assert (kind_of("strategy").group, kind_of("vis_backend").group) == (
        "seg_engine.strategies",
        "seg_engine.vis_backends",
    )
    assert kind_of("vis_backend").attribute == "VISBACKENDS"
    with pytest.raises(KeyError, match="did you mean 'hook'"):
        kind_of("hooks")


def test_every_registry_is_a_name_of_the_package() -> None:
    registries = {name for name in catalog.__all__ if name.isupper() and name != "KINDS"}
    assert len(registries) == 23
    assert registries == {name for name in seg_registry.__all__ if name.isupper()}
    for name in registries:
        assert getattr(seg_registry, name) is getattr(catalog, name)
    from seg_registry import HOOKS as found

    assert found is catalog.KINDS["hook"].registry
    with pytest.raises(ImportError, match="HOOK"):
        exec("from seg_registry import HOOK", {})
