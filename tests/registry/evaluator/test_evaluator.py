"""What the evaluator takes from Python, and that it means the same as in Python."""

from __future__ import annotations

from pathlib import Path
from types import FunctionType, ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seg_registry import Config, ConfigError, ConfigWarning, LimitError, UnsafeConfigError

SAME_AS_PYTHON = {
    "literals": "a = 1\nb = -2.5\nc = 'x' 'y'\nd = b'z'\ne = None\nf = True\ng = 2j\nh = ...",
    "containers": "a = [1, (2,), {3}, {'k': 4}]\nb = (1, 2)\nc = ()\nd = {}",
    "dict calls": "a = dict(x=1, y=dict(z=2))\nb = dict([('k', 1)], v=2)\nc = dict({'k': 1}, k=2)\nd = dict(a, x=5)",
    "list calls": "a = list((1, 2))\nb = tuple([1])\nc = set([1, 1])\nd = list()\ne = tuple()\nf = set()",
    "names": "a = 1\nb = [a, a]\na = 2\nc = a",
    "arithmetic": "a = 7\nb = [a + 1, a - 1, a * 2, a / 2, a // 2, a % 4, a ** 2, -a, +a, ~a, a << 2, a >> 1, "
    "a | 8, a & 3, a ^ 1]",
    "lists joined": "a = [1] * 3 + [2]\nb = (1,) * 2 + (3,)\nc = 'ab' * 2 + 'c'\nd = 2 * [0]",
    "comparison": "a = 3\nb = [a < 4, a == 3, 1 < a < 3, a != 3, a in [3], 4 not in [3], a is None, a is not None]",
    "booleans": "a = [1 and 0, 0 or 'x', not 1, 1 and 2 and 3, '' or 0 or []]",
    "conditions": "a = 1\nb = 'yes' if a else 'no'",
    "subscripts": "a = [1, 2, 3, 4]\nb = [a[0], a[-1], a[1:3], a[::-1], a[::2], 'abc'[1], dict(k=5)['k'], (1, 2)[1:]]",
    "comprehensions": "a = [x * y for x in range(3) for y in range(x) if y]\nb = {x for x in 'aab'}\n"
    "c = {str(x): x for x in range(2)}",
    "variables of comprehensions": "x = 7\na = [x for x in range(3)]\n"
    "b = [[y for y in range(x)] for x in range(3)]\nc = x",
    "f-strings": "a = 3.14159\nb = f'{a:.2f} {a!r} {\"s\"!r:>5} {{}} {1 + 1}'\nw = 8\nc = f'{a:{w}.1f}'",
    "unpacking": "a, b = 1, 2\n(c, [d, *e]) = (1, [2, 3, 4])\nf = [*e, 5]\ng = {**dict(x=1), 'y': 2}\n"
    "h = dict(**g, z=3)\n[i] = [1]",
    "several targets": "a = b = [1]\nb.append(2)",
    "names that share": "a = dict(k=1, s=[1])\nb = a\nb['x'] = 1\nc = dict(inner=a)\na['late'] = 2\nd = [a] * 2\n"
    "d[0]['n'] = 3\ne = dict(a)\ne['s'].append(2)\nf = a.copy()\nf['own'] = 1\ng = a['s']\ng += [3]",
    "changes in place": "a = [1]\nb = a\nb += (2,)\nb *= 2\nc = {1}\nd = c\nd |= {2}\nd -= {1}\ne = dict(k=1)\nf = e\n"
    "f |= dict(m=2)\ng = (1,)\nh = g\nh += (2,)\ni = {1, 2}\nj = i\nj &= {2}\nj ^= {3}",
    "copies": "import copy\nfrom copy import deepcopy as d\na = dict(k=[1], t=([2], {3}))\nb = copy.copy(a)\n"
    "c = copy.deepcopy(a)\na['k'].append(9)\na['t'][0].append(9)\ne = d([a, a])\ne[0]['both'] = 1\n"
    "f = copy.copy(5)\ng = copy.copy([1])\nh = d('x')\ni = copy.copy((1, [2]))\nj = d({1})",
    "a value is made once": "a = [dict(x=1), dict(y=2)]\nb = a.pop()['y']\nc = dict(k=a[a.pop()['x'] - 1:])",
    "membership in ranges": "a = [0.5 in range(3), 2.0 in range(3), 'x' not in range(3), 5 in range(10 ** 15)]",
    "builtins": (
        "a = [sum([1, 2]), sum([[1], [2]], []), len('abc'), int('12'), int('ff', 16), float('1.5'), str(1), "
        "bool([])]\n"
        "b = [min(1, 2), max([3, 4]), min([], default=0), abs(-1), round(2.567, 2), sorted([3, 1], reverse=True)]\n"
        "c = list(enumerate('ab', 1)) + list(zip([1, 2], 'xy')) + list(reversed([1, 2]))\nd = range(3)\n"
        "e = list(range(5, 0, -2))"
    ),
    "methods": (
        "a = dict(x=1)\na.update(y=2)\na.update({'z': 3})\nb = a.pop('x')\nc = a.pop('q', 5)\n"
        "d = [1]\nd.append(2)\nd.extend((3, 4))\ne = d.pop()\nf = d.pop(0)\n"
        "g = list(a.items()) + list(a.keys()) + list(a.values())\n"
        "h = a.copy()\nh['x'] = 9\ni = '-'.join(['a', 'b'])\nj = '{1} {0:>4} {k}'.format(1, 2, k=3)"
    ),
    "methods that read": (
        "a = dict(x=1)\nb = [a.get('x'), a.get('y'), a.get('y', 3)]\nc = ['p', 'q']\n"
        "c.insert(1, 'r')\nd = c.index('q')\n"
        "e = 'a_b_c'.replace('_', '-')\nf = 'abab'.replace('a', '', 1)\ng = 'x'.replace('', '-')\n"
        "h = 'coco/val.txt'.split('/')\ni = ['ab'.startswith('a'), 'ab'.endswith(('c', 'b')), ' A '.strip().lower()]"
    ),
    "shared values": "a = dict(x=1)\nb = dict(p=a)\na['x'] = 2\na.update(y=3)\nc = [a, a]",
    "shallow update": "a = dict(x=dict(p=1, q=2))\na.update(x=dict(p=3))",
    "assignment into values": "a = dict(x=[1, 2, 3])\na['x'][1] = 9\na['n'] = dict(k=1)\na['n']['k'] += 4",
    "deleting": "a = dict(x=1, y=2)\ndel a['x']\nb = 1\ndel b\nc = [1, 2]\ndel c[0]",
    "augmented": "a = [1]\nb = a\na += [2]\nc = 1\nc += 2\nc *= 5\nd = 'x'\nd += 'y'\ne = (1,)\ne += (2,)",
    "annotated": "a: int = 3\nb: 'anything at all' = 4\nc: int",
    "if and for": "a = []\nfor i in range(4):\n    if i % 2:\n        a.append(i)\n    elif i:\n"
    "        a.append(-i)\n    else:\n        pass\nelse:\n    b = 1",
    "for over pairs": "a = {}\nfor k, v in dict(x=1, y=2).items():\n    a[k] = v + 1",
    "percent": "a = '%s-%03d %.1f%%' % ('x', 7, 2.55)",
    "private names": "_a = 1\nb = _a",
    "docstrings": '"""What it is."""\na = 1\n"another"',
    "merged dicts": "a = dict(x=1) | dict(y=2)",
}


def by_python(text: str) -> dict[str, object]:
    names: dict[str, object] = {}
    exec(text, names)
    kept = {name: value for name, value in names.items() if not name.startswith("__")}
    return {name: value for name, value in kept.items() if not isinstance(value, FunctionType | ModuleType)}


@pytest.mark.parametrize("what", SAME_AS_PYTHON)
def test_it_means_what_it_means_in_python(what: str) -> None:
    text = SAME_AS_PYTHON[what]
    ours = Config.fromstring(text).to_dict()
    theirs = by_python(text)
    assert list(ours) == list(theirs)
    assert repr(ours) == repr(theirs)


def test_attributes_of_config_values_are_keys() -> None:
    cfg = Config.fromstring(
        "model = dict(depth=3, head=dict(n=2))\na = model.depth\nmodel.head.n = 5\ndel model.depth\nb = model.head.n"
    )
    assert cfg.to_dict() == {"model": {"head": {"n": 5}}, "a": 3, "b": 5}


def test_a_builtin_that_the_file_rebinds_is_the_files_own() -> None:
    with pytest.raises(UnsafeConfigError, match=r"call of len\(\)"):
        Config.fromstring("len = 3\nx = len([1])")


def test_a_stray_comma_after_a_dict_is_taken_back_with_one_warning(tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    path.write_text("x = 1\noptimizer = dict(\n    type='AdamW', lr=1e-3),\nwrapper = dict(optimizer=optimizer)\n")
    with pytest.warns(ConfigWarning, match=r"train\.py:2: the comma after this dict") as caught:
        cfg = Config.fromfile(path)
    assert len(caught) == 1
    assert cfg.wrapper.optimizer.type == "AdamW"
    with pytest.warns(ConfigWarning):  # the second time too, although the file was kept
        Config.fromfile(path)


@pytest.mark.parametrize("text", ["x = (dict(a=1),)", "x = dict(a=1), dict(b=2)", "x = 1,", "x = [dict(a=1)],"])
def test_other_tuples_stay_tuples(text: str) -> None:
    assert isinstance(Config.fromstring(text).x, tuple)


def test_a_stray_comma_after_a_display() -> None:
    assert Config.fromstring("x = {'a': 1},").x == {"a": 1}


def test_an_error_names_line_and_cause() -> None:
    with pytest.raises(ConfigError, match=r":3: ZeroDivisionError") as caught:
        Config.fromstring("x = [\n    1,\n    2 / 0,\n]")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_misspelt_name_gets_a_hint() -> None:
    with pytest.raises(ConfigError, match="did you mean 'crop_size'"):
        Config.fromstring("crop_size = 3\nx = crop_sise")


NAMES = st.sampled_from(["a", "b", "c", "x0"])
NUMBERS = st.integers(-50, 50).map(str)
ATOMS = NUMBERS | NAMES | st.sampled_from(["'s'", "[]", "()", "{}", "None", "True", "1.5", "[1, 2]", "dict(k=1)"])
EXPRESSIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(
            inner, st.sampled_from(["+", "-", "*", "/", "//", "%", "**", "==", "<", "and", "or", "in", "<<"]), inner
        ).map(lambda parts: f"({' '.join(parts)})"),
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.lists(inner, max_size=3).map(
            lambda items: f"dict({', '.join(f'k{i}={each}' for i, each in enumerate(items))})"
        ),
        st.tuples(inner, inner).map(lambda pair: f"{pair[0]}[{pair[1]}]"),
        st.tuples(inner, inner, inner).map(lambda three: f"({three[0]} if {three[1]} else {three[2]})"),
        st.tuples(inner, inner).map(lambda pair: f"[{pair[0]} for a in {pair[1]}]"),
        st.tuples(
            st.sampled_from(["len", "sum", "sorted", "max", "str", "list", "set", "abs", "round", "int"]), inner
        ).map(lambda call: f"{call[0]}({call[1]})"),
        inner.map(lambda each: f"(-{each})"),
        inner.map(lambda each: f"f'{{{each}}}'" if "'" not in each else each),
        inner.map(lambda each: f"'{{}}'.format({each})"),
    ),
    max_leaves=8,
)
PROGRAMS = st.lists(
    st.one_of(
        st.tuples(NAMES, EXPRESSIONS).map(lambda pair: f"{pair[0]} = {pair[1]}"),
        st.tuples(NAMES, EXPRESSIONS).map(lambda pair: f"{pair[0]} += {pair[1]}"),
        st.tuples(NAMES, EXPRESSIONS, NAMES).map(
            lambda three: f"for {three[0]} in {three[1]}:\n    {three[2]} = {three[0]}"
        ),
        st.tuples(EXPRESSIONS, NAMES).map(lambda pair: f"if {pair[0]}:\n    {pair[1]} = 1"),
        st.tuples(NAMES, EXPRESSIONS).map(lambda pair: f"{pair[0]}.append({pair[1]})"),
        st.tuples(NAMES, EXPRESSIONS).map(lambda pair: f"{pair[0]}.update({pair[1]})"),
    ),
    max_size=6,
).map("\n".join)


@pytest.mark.filterwarnings("ignore::SyntaxWarning")  # Python's own, for what such programs come to: `0[0]`
@settings(max_examples=300, deadline=None)
@given(PROGRAMS)
def test_programs_give_what_python_gives_or_an_error_of_ours(text: str) -> None:
    try:
        ours = Config.fromstring(text).to_dict()
    except ConfigError as error:
        assert error.line is not None  # noqa: PT017
        return
    theirs = by_python(text)
    assert repr(ours) == repr(theirs) or "set(" in text or "{" in repr(theirs)


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("abc_01 =()[]{}.,:'\"\n+*-/%<>!#\\{}fdict_base_$"), max_size=60) | st.text(max_size=40))
def test_any_text_loads_or_is_an_error_of_ours(text: str) -> None:
    try:
        Config.fromstring(text)
    except ConfigError as error:
        assert error.file  # noqa: PT017


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60), st.sampled_from([".py", ".json", ".toml"]))
def test_any_bytes_load_or_are_an_error_of_ours(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("bytes") / f"file{suffix}"
    path.write_bytes(data)
    try:
        Config.fromfile(path)
    except ConfigError as error:
        assert str(error).startswith(str(path))  # noqa: PT017


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2 ** 5000", 2**5000),
        ("1 ** 10 ** 9", 1),
        ("(-1) ** (10 ** 9 + 1)", -1),
        ("0 ** 10 ** 9", 0),
        ("2 ** -3", 0.125),
        ("2 ** -20000", 0.0),
        ("7 ** 0", 1),
        ("2.0 ** 100", 2.0**100),
    ],
)
def test_powers_that_fit(text: str, value: float) -> None:
    assert Config.fromstring(f"x = {text}").x == value


@pytest.mark.parametrize("text", ["2 ** 5001", "3 ** 5001", "-2 ** 5001", "(-2) ** 5001", "10 ** 10 ** 9"])
def test_powers_that_do_not(text: str) -> None:
    with pytest.raises(LimitError, match="10000 bits"):
        Config.fromstring(f"x = {text}")


def test_products_and_shifts_are_bounded_before_they_are_made() -> None:
    for text in ("2 ** 4999 * 2 ** 4999", "1 << 9999", "2 ** 4000 << 5999", "2 ** 9 >> 10 ** 9"):
        assert Config.fromstring(f"x = {text}").x == eval(text)
    for text in ("2 ** 5000 * 2 ** 5000", "1 << 10000", "2 ** 4000 << 6000", "0 << 10001"):
        with pytest.raises(LimitError, match="bits"):
            Config.fromstring(f"x = {text}")


def test_large_exponents_cost_more_than_other_operations() -> None:
    Config.fromstring("x = [1 * 100 for i in range(20000)]")
    Config.fromstring("x = [1 ** 64 for i in range(20000)]")
    for operation in ("**", "<<"):
        with pytest.raises(LimitError, match="more work"):
            Config.fromstring(f"x = [1 {operation} 100 for i in range(20000)]")


def test_texts_are_bounded_before_they_are_made() -> None:
    for text in ("('a' * 9000).replace('a', 'b' * 9000)", "('a' * 9000).replace('', 'b' * 9000)"):
        with pytest.raises(LimitError):
            Config.fromstring(f"x = {text}")
    with pytest.raises(LimitError):
        Config.fromstring("x = [('a ' * 5000).split() for i in range(1000)]")
