"""What the language of configs means where one object has several names, and for words of the command line: on both."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import pytest
from seg_registry import Config, parse_options

pytest.importorskip("mmengine", reason="mmengine is in the parity environment only")

OLD = "_base_ = './{}.py'\n"
NEW = "from mmengine.config import read_base\nwith read_base():\n    from .{} import *\n"
NET = "p = dict(x=dict(k=1))\nq = p\nr = dict(a=p, b=[p, p])\n"
TWO = "s = dict(p={0})\nt = dict(p={0})\n"
FILES = {
    "one file": ["a = dict(x=dict(k=1))\nb = a\nb.update(y=2)\nc = dict(q=a['x'])\nc['q']['k'] = 3\n"],
    "lists": ["a = [dict(k=1)]\nb = a + a\nb[0]['k'] = 2\nc = a[:1]\nc[0]['y'] = 3\nd = [*a]\nd[0]['z'] = 4\n"],
    "copies": ["a = dict(x=[1])\nb = a.copy()\nb['x'].append(2)\nc = dict(a)\nc['x'].append(3)\nd = dict(**a, n=1)\n"],
    "loops": ["a = dict(x=1)\nl = [dict(a=a), dict(a=a)]\nfor b in l:\n    b['a']['y'] = 1\nl[0]['a']['z'] = 2\n"],
    "read from a base": [NET, OLD + "s = _base_.p\nt = _base_.p\ns.x.update(k=3)\n"],
    "changed in a base": [NET, OLD + "_base_.r.b[0].x.k = 3\ns = _base_.p\n"],
    "merged into a base": [NET, OLD + "p = dict(x=dict(k=3))\nr = dict(a=dict(x=dict(n=1)))\n"],
    "one object twice into a base": [NET, OLD + "c = dict(x=dict(z=1))\nr = dict(a=c)\nq = c\n"],
    "a base's name, two files on": [NET, OLD + TWO.format("_base_.p"), OLD + "_base_.s.p.x.update(k=3)\n"],
    "a template": [NET, OLD + TWO.format("{{_base_.p}}"), OLD + "_base_.s.p.x.update(k=3)\n"],
    "new style": [NET, NEW + "p.x.update(k=3)\nr.b[1].x.z = 1\n"],
    "new style, replaced": [NET, NEW + "q = dict(z=1)\np.x.h = 2\nr.a.x.n = 4\n"],
    "new style, merged": [NET, NEW + "r.merge(dict(a=dict(x=dict(q=1))))\np.x.h = 2\n"],
    "new style, two files on": [NET, NEW + "s = dict(p=p)\n", NEW + "s.p.x.update(k=3)\nq.x.z = 1\n"],
    "a tuple of one": ["a = 5,\nb = ('x',)\n"],
}


@pytest.mark.parametrize("name", FILES)
def test_a_change_is_seen_under_every_name_of_the_object(name: str, tmp_path: Path) -> None:
    from mmengine.config import Config as Reference

    for number, text in enumerate(FILES[name]):
        path = tmp_path / f"c{number}.py"
        path.write_text(text.replace("{}", f"c{number - 1}", 1) if number else text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = Reference.fromfile(str(path)).to_dict()
    assert Config.fromfile(path).to_dict() == theirs


@pytest.mark.parametrize(
    "word",
    ["a=1", "a=", "a=[1,2]", 'a="[1,2]"', "a='(1,x)'", "a=[(1,2),(3,4)]", "a=1,2", "a=True", "a=none", "a.b=1e-3"],
)
def test_a_word_of_the_command_line_means_the_same(word: str) -> None:
    from mmengine.config import DictAction

    parser = argparse.ArgumentParser()
    parser.add_argument("--cfg-options", nargs="+", action=DictAction)
    theirs: dict[str, Any] = parser.parse_args(["--cfg-options", word]).cfg_options
    assert parse_options([word]) == theirs
