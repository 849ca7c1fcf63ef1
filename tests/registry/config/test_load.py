"""Chains of config files: bases, references to them, templates, formats, new-style files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from seg_registry import (
    Config,
    ConfigError,
    ConfigFileError,
    ConfigKeyError,
    ConfigTypeError,
    ConfigWarning,
    LimitError,
    UnsafeConfigError,
)

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes files by name; gives the path of the last one."""

    def writer(**files: str) -> Path:
        path = tmp_path
        for name, text in files.items():
            stem, _, suffix = name.rpartition("_")
            path = tmp_path / f"{stem.replace('__', '/')}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return path

    return writer


def load(path: Path) -> dict[str, object]:
    return Config.fromfile(path).to_dict()


def test_a_child_is_merged_over_its_base(write: Write) -> None:
    path = write(
        base_py="model = dict(type='A', head=dict(n=1, k=[1, 2]))\nlr = 1\n",
        train_py="_base_ = './base.py'\nmodel = dict(head=dict(k=[3]))\nnew = True\n",
    )
    assert load(path) == {"model": {"type": "A", "head": {"n": 1, "k": [3]}}, "lr": 1, "new": True}


def test_several_bases_stand_side_by_side_and_may_lie_anywhere(write: Write, tmp_path: Path) -> None:
    path = write(
        deep__model_py="_base_ = '../root.json'\nmodel = dict(depth=2)\n",
        root_json='{"root": [1, {"a": null}]}',
        schedule_toml="[optim]\nlr = 0.1\n",
        train_py=f"_base_ = ['deep/model.py', {str(tmp_path / 'schedule.toml')!r}]\noptim = dict(momentum=0.9)\n",
    )
    assert load(path) == {
        "root": [1, {"a": None}],
        "model": {"depth": 2},
        "optim": {"lr": 0.1, "momentum": 0.9},
    }


def test_the_same_key_in_two_bases_shows_both_places(write: Write) -> None:
    path = write(a_py="x = 1\n", b_py="\nx = True\n", train_py="_base_ = ['a.py', 'b.py']\n")
    with pytest.raises(ConfigKeyError, match=r"train\.py:1: .*'x' .*\(.*a\.py:1 and .*b\.py:2\)"):
        load(path)


def test_a_base_that_is_reached_by_two_ways_counts_once(write: Write) -> None:
    root = "x = dict(k=[1, float('nan')])\ny = {1}\n"
    ways = {"root_py": root, "a_py": "_base_ = 'root.py'\na = 1\n", "b_py": "_base_ = './root.py'\nb = 2\n"}
    loaded = load(write(**ways, train_py="_base_ = ['a.py', 'b.py', 'root.py']\nx = dict(z=3)\n"))
    assert loaded["x"] == {"k": [1, pytest.approx(float("nan"), nan_ok=True)], "z": 3}
    assert (loaded["y"], loaded["a"], loaded["b"]) == ({1}, 1, 2)


def test_a_diamond_whose_ways_differ_is_a_doubled_key(write: Write) -> None:
    path = write(
        root_py="x = dict(k=1)\n",
        a_py="_base_ = 'root.py'\n",
        b_py="_base_ = 'root.py'\nx = dict(k=2)\n",
        train_py="_base_ = ['a.py', 'b.py']\n",
    )
    with pytest.raises(KeyError, match="'x'"):
        load(path)


@pytest.mark.parametrize(
    "text",
    [
        "folder = 'sub'\n_base_ = [f'{folder}/b.py']\n",
        "folder = 'sub'\nname = folder + '/b'\n_base_ = name + '.py'\n",
        "folders = ['sub']\nfolders += ['more']\nfor each in folders:\n    last = each\n"
        "_base_ = [f'{each}/b.py' for each in folders[:1]]\n",
        "folder = 'sub'\n_base_ = bases = ['%s/%s.py' % (folder, each) for each in 'b']\n",
    ],
)
def test_a_base_may_be_named_by_variables_of_the_file(write: Write, text: str) -> None:
    path = write(sub__b_py="lr = 0.1\n", train_py=f"{text}x = _base_.lr * 2\n")
    assert Config.fromfile(path).lr == 0.1
    assert Config.fromfile(path).x == 0.2
    assert "_base_" not in Config.fromfile(path)


@pytest.mark.parametrize("text", ["_base_ = f'{folder}/b.py'\nfolder = 'sub'\n", "_base_ = [f'{foldr}.py']\n"])
def test_a_base_named_by_what_is_not_there_yet_says_so(write: Write, text: str) -> None:
    with pytest.raises(ConfigError, match=r"train\.py:1: in _base_: NameError: name 'fold"):
        load(write(train_py=text))


def test_the_line_of_an_error_above_a_base_is_its_own(write: Write) -> None:
    with pytest.raises(ConfigError, match=r"train\.py:1: ZeroDivisionError"):
        load(write(train_py="folder = 1 / 0\n_base_ = f'{folder}.py'\n"))


@pytest.mark.parametrize(
    ("base", "child", "result"),
    [
        ("a = dict(x=1, y=2)", "a = dict(_delete_=True, z=3)", {"a": {"z": 3}}),
        ("a = [1, 2]", "a = dict(_delete_=True, z=3)", {"a": {"z": 3}}),
        ("a = dict(x=1)", "a = dict(_delete_=False, z=3)", {"a": {"x": 1, "z": 3}}),
        ("a = dict(x=dict(p=1))", "a = dict(x=dict(_delete_=True, q=1))", {"a": {"x": {"q": 1}}}),
        ("a = dict(x=1)", "a = None", {"a": None}),
        ("a = [dict(x=1)]", "a = [dict(y=2)]", {"a": [{"y": 2}]}),
        (
            "a = dict(x=dict(_delete_=True, p=1))",
            "a = dict(x=dict(q=2))",
            {"a": {"x": {"_delete_": True, "p": 1, "q": 2}}},
        ),
        ("b = 1", "a = dict(_delete_=True, z=3)", {"b": 1, "a": {"_delete_": True, "z": 3}}),
        (
            "a = dict(p=dict(x=1))",
            "s = dict(_delete_=True, y=1)\na = dict(p=s)",
            {"a": {"p": {"y": 1}}, "s": {"_delete_": True, "y": 1}},
        ),
    ],
)
def test_merge_rules(write: Write, base: str, child: str, result: dict[str, object]) -> None:
    assert load(write(base_py=base, train_py=f"_base_ = 'base.py'\n{child}\n")) == result


@pytest.mark.parametrize("base", ["a = 1", "a = None", "a = [1]"])
def test_a_dict_over_something_else_needs_delete(write: Write, base: str) -> None:
    path = write(base_py=base, train_py="_base_ = 'base.py'\nx = 1\na = dict(b=1)\n")
    with pytest.raises(ConfigTypeError, match=r"train\.py:3: .*_delete_=True"):
        load(path)


def test_base_values_can_be_read_and_changed(write: Write) -> None:
    path = write(
        base_py="model = dict(depth=3, sub=dict(k=1), out=[1, 2])\nhooks = [dict(n=1), dict(n=2)]\n",
        train_py=(
            "_base_ = 'base.py'\nd = _base_.model.depth * 2\nsub = _base_['model']['sub']\nsub.k = 99\n"
            "_base_.model['new'] = 7\n_base_.hooks[1].n = 5\n_base_.model.out.append(3)\ndel _base_.model.depth\n"
        ),
    )
    assert load(path) == {
        "model": {"sub": {"k": 99}, "out": [1, 2, 3], "new": 7},
        "hooks": [{"n": 1}, {"n": 5}],
        "d": 6,
        "sub": {"k": 99},
    }
    assert load(path)["sub"] == {"k": 99}
    assert load(path.parent / "base.py")["model"] == {"depth": 3, "sub": {"k": 1}, "out": [1, 2]}  # as it was


def test_update_of_a_base_value_is_deep_and_of_an_own_one_is_not(write: Write) -> None:
    path = write(
        base_py="model = dict(a=dict(x=1, y=2))\n",
        train_py="_base_ = 'base.py'\n_base_.model.update(dict(a=dict(x=5)))\nown = dict(a=dict(x=1, y=2))\n"
        "own.update(a=dict(x=5))\n",
    )
    assert load(path) == {"model": {"a": {"x": 5, "y": 2}}, "own": {"a": {"x": 5}}}


def test_a_change_of_the_file_or_its_base_is_seen(write: Write) -> None:
    path = write(base_py="x = 1\n", train_py="_base_ = 'base.py'\n")
    stamp = (path.parent / "base.py").stat()
    assert load(path) == {"x": 1}
    write(base_py="x = 2\n")
    import os

    os.utime(path.parent / "base.py", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # same size, same time: still seen
    assert load(path) == {"x": 2}


BASE = "a = dict(k=1, lst=[1, 2])\nb = dict(inner=a, l2=a['lst'])\nc = [dict(x=1)]\ns = {1, 2}\n"
SHARED = {  # what MMEngine 0.10.7 makes of it: (child, values that are not those of the base)
    "a part of the base is the part itself": (
        "x = _base_.a\nx['k'] = 7\ny = _base_.c\ny.append(9)\nz = dict(q=_base_.a)\nz['q']['new'] = 1\n",
        {
            "a": {"k": 7, "lst": [1, 2], "new": 1},
            "x": {"k": 7, "lst": [1, 2], "new": 1},
            "z": {"q": {"k": 7, "lst": [1, 2], "new": 1}},
            "c": [{"x": 1}, 9],
            "y": [{"x": 1}, 9],
        },
    ),
    "two keys of a base are not": ("_base_.a.k = 2\n_base_.a.lst.append(3)\n", {"a": {"k": 2, "lst": [1, 2, 3]}}),
    "merging changes no other name": (
        "x = _base_.a\na = dict(k=100)\n",
        {
            "x": {"k": 1, "lst": [1, 2]},
            "a": {"k": 100, "lst": [1, 2]},
        },
    ),
    "a plain dict is taken in as it is then": (
        "n = dict(k=3)\n_base_.c = n\nn['late'] = 1\n",
        {
            "c": {"k": 3},
            "n": {"k": 3, "late": 1},
        },
    ),
    "a part put elsewhere stays itself": (
        "q = _base_.a\n_base_.c = [q]\nq.k = 'q'\n",
        {
            "a": {"k": "q", "lst": [1, 2]},
            "c": [{"k": "q", "lst": [1, 2]}],
            "q": {"k": "q", "lst": [1, 2]},
        },
    ),
    "sets": (
        "t = _base_.s\nt.update({5})\nu = {7}\n_base_.v = u\nu |= {8}\n",
        {
            "s": {1, 2, 5},
            "t": {1, 2, 5},
            "u": {7, 8},
            "v": {7, 8},
        },
    ),
    "a shallow copy": (
        "y = _base_.a.copy()\ny['k'] = 0\ny['lst'].append('both')\n",
        {
            "a": {"k": 1, "lst": [1, 2, "both"]},
            "y": {"k": 0, "lst": [1, 2, "both"]},
        },
    ),
}


@pytest.mark.parametrize("what", SHARED)
def test_names_that_share_one_object_share_it(write: Write, what: str) -> None:
    child, changed = SHARED[what]
    path = write(base_py=BASE, train_py=f"_base_ = 'base.py'\n{child}")
    base = load(path.parent / "base.py")
    for _ in range(2):  # what is kept of the base is as it was
        assert load(path) == base | changed
        assert load(path.parent / "base.py") == base


def test_a_template_is_a_value_of_its_own(write: Write) -> None:
    path = write(base_py=BASE, train_py="_base_ = 'base.py'\nx = {{_base_.a}}\nx['k'] = 3\n")
    assert load(path)["a"] == {"k": 1, "lst": [1, 2]}


def test_new_style_names_of_one_file_are_the_same_objects(write: Write) -> None:
    head = "with read_base():\n    from .base import a as one\n    from .base import a as two, b\n"
    path = write(base_py=BASE, train_py=f"{head}one['k'] = 5\nb.inner.k = 6\n")
    assert load(path) == {
        "one": {"k": 5, "lst": [1, 2]},
        "two": {"k": 5, "lst": [1, 2]},
        "b": {"inner": {"k": 6, "lst": [1, 2]}, "l2": [1, 2]},
    }


def test_name_and_file_are_values(write: Write) -> None:
    path = write(base_py="where = __file__\n", train_py="_base_ = 'base.py'\nname = __name__\nhere = __file__\n")
    values = {"where": str(path.parent / "base.py"), "name": "builtins", "here": str(path)}
    assert load(path) == values
    assert Config.fromfile(path, trusted=True).to_dict() == values


def test_sets_and_bytearrays_belong_to_one_load(write: Write) -> None:
    path = write(
        base_py="s = {1, 2}\nt = ({1}, [{2}])\nd = dict(s={3})\n",
        train_py="_base_ = 'base.py'\n_base_.s.update({77})\n",
    )
    for _ in range(2):
        cfg = Config.fromfile(path.parent / "base.py")
        assert cfg.to_dict() == {"s": {1, 2}, "t": ({1}, [{2}]), "d": {"s": {3}}}
        for each in (cfg.s, cfg.t[0], cfg.t[1][0], cfg.d.s, cfg.to_dict()["s"]):
            each.add(99)
        assert Config.fromfile(path).s == {1, 2, 77}
    own = Config({"raw": bytearray(b"ab"), "s": {1}})
    copy = Config(own.to_dict())
    copy.raw.extend(b"c")
    copy.s.add(2)
    assert (own.raw, own.s) == (bytearray(b"ab"), {1})


def test_two_loads_share_nothing(write: Write) -> None:
    path = write(base_py="x = [dict(a=[1])]\n", train_py="_base_ = 'base.py'\ny = x = [1]\n")
    one = Config.fromfile(path.parent / "base.py")
    one.x[0].a.append(2)
    one.x.append(3)
    assert load(path.parent / "base.py") == {"x": [{"a": [1]}]}
    two = Config.fromfile(path)
    assert two.x is not two.y


def test_odd_base_statements_are_reported(write: Write) -> None:
    path = write(a_py="x = 1\n", train_py="_base_ = 'a.py'\n_base_ = 'b.py'\n")
    with pytest.warns(ConfigWarning, match=r"train\.py:2: a second _base_"):
        assert load(path) == {"x": 1}
    with pytest.warns(ConfigWarning, match="inside if or for"):
        load(write(train_py="if True:\n    _base_ = 'a.py'\ny = 1\n"))
    with pytest.warns(ConfigWarning, match=r"train\.py:1: .*one of several targets"):
        load(write(train_py="_base_, x = 'a.py', 1\n"))
    with pytest.warns(ConfigWarning, match="annotated _base_"):
        load(write(train_py="_base_: str = 'a.py'\ny = 1\n"))


def test_a_base_in_an_installed_package(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site" / "zoo_of_configs"
    (package / ".mim" / "configs" / "a").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('a base never imports its package')\n")
    (package / ".mim" / "configs" / "a" / "m.py").write_text(
        "model = dict(type='M', head=dict(type='H'))\nx = [dict(type='P')]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    path = write(train_py="_base_ = 'zoo_of_configs::a/m.py'\nmodel = dict(head=dict(k=1))\n")
    assert load(path) == {
        "model": {"_scope_": "zoo_of_configs", "type": "M", "head": {"type": "H", "k": 1}},
        "x": [{"_scope_": "zoo_of_configs", "type": "P"}],
    }
    with pytest.raises(ConfigFileError, match="none of"):
        load(write(train_py="_base_ = 'zoo_of_configs::no/such.py'\n"))


def test_file_templates(write: Write, tmp_path: Path) -> None:
    path = write(
        base_py="b = '{{ fileBasename }}'\n",
        train_py="_base_ = '{{fileDirname}}/base.py'\n"
        "c = '{{ fileBasenameNoExtension }}|{{fileExtname}}|{{fileDirname}}'\n",
    )
    assert load(path) == {"b": "base.py", "c": f"train|.py|{tmp_path}"}
    assert Config.fromfile(write(a_py="x = '{{fileBasename}}'"), use_predefined_variables=False).x == "{{fileBasename}}"


def test_environment_templates(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS_N", "5")
    monkeypatch.setenv("OURS_EMPTY", "")
    path = write(
        a_py="n = {{$OURS_N:1}}\nd = '{{ $OURS_NONE:a+b }}'\ne = '{{$OURS_EMPTY:x}}'\n"
        "q = {{'$OURS_NONE:[1,2]'}}\nl = '{{$OURS_N}}'\n"
    )
    cfg = Config.fromfile(path)
    assert cfg.to_dict() == {"n": 5, "d": "a+b", "e": "", "q": [1, 2], "l": "{{$OURS_N}}"}
    assert cfg.env_variables["OURS_N"] == "5"
    assert Config.fromfile(write(b_py="x = '{{$OURS_N:1}}'"), use_environment_variables=False).x == "{{$OURS_N:1}}"


def test_base_templates(write: Write) -> None:
    path = write(
        base_py="a = dict(n=3, l=[1, 2])\n",
        train_py="_base_ = 'base.py'\nx = {{_base_.a.n}}\ny = [{{ _base_.a }}, '{{_base_.a.l}}', "
        "'n is {{_base_.a.n}}', {{_base_.a.l.1}}]\n",
    )
    assert load(path) == {"a": {"n": 3, "l": [1, 2]}, "x": 3, "y": [{"n": 3, "l": [1, 2]}, [1, 2], "n is 3", 2]}
    data = write(
        child_json='{"_base_": "base.py", "x": "{{_base_.a.n}}", "y": {{_base_.a.l}}, "z": "n={{_base_.a.n}}"}'
    )
    assert load(data) == {"a": {"n": 3, "l": [1, 2]}, "x": 3, "y": [1, 2], "z": "n=3"}


def test_deprecation(write: Write) -> None:
    path = write(a_py="_deprecation_ = dict(expected='new.py', reference='http://x')\nx = 1\n")
    with pytest.warns(DeprecationWarning, match=r"use new\.py, see http://x"):
        assert load(path) == {"x": 1}


def test_custom_imports_are_only_recorded(write: Write) -> None:
    assert load(write(a_py="custom_imports = dict(imports='no.such.module')\n"))["custom_imports"] == {
        "imports": "no.such.module"
    }


def test_data_formats_agree(write: Write) -> None:
    pytest.importorskip("yaml")
    expected = {"model": {"type": "A", "sizes": [1, 2.5, "x"], "use": True}, "steps": [{"n": 1}, {"n": 2}]}
    files = [
        write(a_py="model = dict(type='A', sizes=[1, 2.5, 'x'], use=True)\nsteps = [dict(n=1), dict(n=2)]\n"),
        write(a_json='{"model": {"type": "A", "sizes": [1, 2.5, "x"], "use": true}, "steps": [{"n": 1}, {"n": 2}]}'),
        write(a_yaml="model:\n  type: A\n  sizes: [1, 2.5, x]\n  use: true\nsteps:\n- n: 1\n- {n: 2}\n"),
        write(a_toml="[model]\ntype = 'A'\nsizes = [1, 2.5, 'x']\nuse = true\n[[steps]]\nn = 1\n[[steps]]\nn = 2\n"),
    ]
    for file in files:
        assert load(file) == expected, file


def test_yaml_merge_keys_tuples_and_sets(write: Write) -> None:
    pytest.importorskip("yaml")
    path = write(
        a_yml="a: &a {x: 1}\nb:\n  <<: *a\n  y: 2\nc: !!python/tuple [1, [2]]\nd: !!set {p, q}\ne: 2020-01-02\n"
    )
    assert load(path) == {"a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": (1, [2]), "d": {"p", "q"}, "e": "2020-01-02"}


def test_an_empty_file_is_an_empty_config(write: Write) -> None:
    assert load(write(a_py="")) == {}
    pytest.importorskip("yaml")
    assert load(write(a_yaml="# nothing\n")) == {}


def test_new_style(write: Write) -> None:
    path = write(
        parts__model_py="from torch.nn import Conv2d\n\nmodel = dict(type=Conv2d, head=dict(n=1))\nlr = 0.1\n",
        train_py=(
            "from mmengine.config import read_base\nfrom torch.optim import SGD\nimport torch.nn as nn\n\n"
            "with read_base():\n    from .parts.model import *\n\n"
            "model.update(dict(head=dict(k=2)))\nmodel.merge(dict(extra=dict(_delete_=True, z=1)))\n"
            "optim = dict(type=SGD, lr=lr * 2)\nact = dict(type=nn.ReLU)\ncopy = dict(type=Conv2d)\n"
        ),
    )
    assert load(path) == {
        "model": {"type": "torch.nn.Conv2d", "head": {"n": 1, "k": 2}, "extra": {"_delete_": True, "z": 1}},
        "lr": 0.1,
        "optim": {"type": "torch.optim.SGD", "lr": 0.2},
        "act": {"type": "torch.nn.ReLU"},
        "copy": {"type": "torch.nn.Conv2d"},
    }


def test_new_style_by_name_and_from_above(write: Write) -> None:
    path = write(
        a__base_py="x = 1\ny = 2\n",
        a__b__train_py="from seg import read_base\nwith read_base():\n    from ..base import x as z, y\ny = y + z\n",
    )
    assert load(path) == {"z": 1, "y": 3}


def test_new_style_bases_are_loaded_before_the_file_is_evaluated(write: Write) -> None:
    path = write(
        base_py="x = '{{$OURS_NONE:1}}'\n",
        train_py="use = 1\nif use:\n    with read_base():\n        from .base import x\nelse:\n    y = 1\n",
    )
    cfg = Config.fromfile(path)
    assert cfg.to_dict() == {"use": 1, "x": "1"}
    assert cfg.env_variables == {"OURS_NONE": "1"}
    assert [Path(file).name for file, _ in cfg._texts] == ["train.py", "base.py"]
    path.write_text("if 0:\n    with read_base():\n        from .absent import x\n")
    with pytest.raises(ConfigFileError, match=r"train\.py:3: cannot read"):  # whatever the condition
        load(path)


def test_a_base_that_is_missing_is_told_before_the_file_is_evaluated(write: Write) -> None:
    with pytest.raises(ConfigFileError, match=r"train\.py:2: cannot read"):
        load(write(train_py="x = open('a')\n_base_ = 'absent.py'\n"))


def test_new_style_rules(write: Write) -> None:
    write(base_py="x = 1\n")
    for text, match in [
        ("with read_base():\n    from .base import nothing\n", "no name 'nothing'"),
        ("from .base import *\n", "with read_base"),
        ("_base_ = 'base.py'\nwith read_base():\n    from .base import *\n", "cannot be used in one file"),
        ("from os import path\n", "import of os"),
        ("import torch\nx = torch.zeros(3)\n", r"call of torch\.zeros\(\)"),
    ]:
        with pytest.raises(ConfigError, match=match):
            load(write(train_py=text))


def test_a_trusted_file_is_executed(write: Write) -> None:
    path = write(
        base_py="n = 2\n",
        train_py=(
            "_base_ = 'base.py'\nimport math\n\ndef double(x):\n    return 2 * x\n\n"
            "x = double(math.floor(3.7))\nclass K: pass\ny = dict(a=[_base_.n])\n"
        ),
    )
    with pytest.raises(UnsafeConfigError):
        Config.fromfile(path)
    cfg = Config.fromfile(path, trusted=True)
    assert {key: cfg[key] for key in ("n", "x", "y")} == {"n": 2, "x": 6, "y": {"a": [2]}}
    assert set(cfg.keys()) == {"n", "x", "y", "K"}
    assert str(cfg.origin("x")).endswith("train.py:7")


def test_an_exception_in_a_trusted_file_stays_what_it_is(write: Write) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        Config.fromfile(write(a_py="import math\nx = 1 / 0\n"), trusted=True)
    assert any("trusted config" in note for note in caught.value.__notes__)


def test_text_holds_every_file_of_the_chain_bases_first(write: Write) -> None:
    path = write(base_py="x = 1  # the base\n", train_py="_base_ = 'base.py'\ny = 2  # the child\n")
    text = Config.fromfile(path).text
    assert text.index("# the base") < text.index("# the child")
    assert f"{path}\n" in text


def test_a_config_from_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.py").write_text("x = 1\n")
    assert Config.fromstring("_base_ = 'base.py'\ny = 2\n", ".py").to_dict() == {"x": 1, "y": 2}
    assert Config.fromstring('{"a": 1}', ".json").to_dict() == {"a": 1}


def test_a_circle_of_new_style_files_is_shown(write: Write) -> None:
    path = write(
        a_py="with read_base():\n    from .b import *\n",
        b_py="with read_base():\n    from .a import *\n",
    )
    with pytest.raises(ConfigError, match=r"a\.py:2: the bases form a circle: .*b\.py -> .*a\.py -> .*b\.py"):
        load(path)


def test_the_keywords_of_mmengine_are_taken(write: Write) -> None:
    path = write(a_py="x = '{{fileBasename}}'\ncustom_imports = dict(imports=['no_such_module'])")
    cfg = Config.fromfile(path, True, False, True, lazy_import=False, format_python_code=False)
    assert cfg.x == "a.py"
    with pytest.warns(ConfigWarning, match=r"builder\(cfg, allow_imports=True\)"):
        Config.fromfile(path, import_custom_modules=True)


def test_names_that_are_read(write: Write) -> None:
    path = write(
        base_py="a = 1\nb = dict(x=a)\nc = dict()\nc.update(x=1)\nc['y'] = 2\nd = [1]\nd += [2]\ne = 1\nf = 2\ng = 3\n",
        middle_json='{"_base_": "base.py", "h": {{_base_.e}}, "i": "f"}',
        train_py="_base_ = 'middle.json'\nj = [_base_['f'] for _ in range(2)]\n_base_.b.z = 1\nk = {{_base_.i}}\n"
        "l = dict()\nm = dict(n=l)\n",
    )
    cfg = Config.fromfile(path)
    assert [name for name in cfg if cfg.reads(name)] == ["a", "e", "f", "i", "l"]
    assert not cfg.reads("range_")
    assert [name for name in cfg if cfg.copy().reads(name)] == ["a", "e", "f", "i", "l"]
    assert not Config({"a": 1}).reads("a")
    assert Config({"a": 1}, cfg_text="not [python a").reads("a")


def test_a_chain_that_is_too_large_names_the_limit_that_it_passes(write: Write) -> None:
    """Bases of many bytes are refused for their bytes, not for their number."""
    text = f"words = {'x' * 250_000!r}\n"
    names = [f"base_{index}" for index in range(40)]
    written = {f"{name}_py": text.replace("words", name) for name in names}
    path = write(**written, train_py=f"_base_ = {[f'{name}.py' for name in names]}\n")
    with pytest.raises(LimitError, match="the chain of bases reads more than 8388608 bytes"):
        Config.fromfile(path)
