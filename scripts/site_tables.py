"""The generated pages that are no list of names: the timetable of hooks, keys of a config, commands, variables."""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import io
import re
import tokenize
from collections.abc import Iterator

from interface_config import annotation_of, shown
from projects import NAMES, project
from site_docstrings import escape, one_line, parse
from site_names import slug
from site_registered import entries


def timetable() -> str:
    """Return which hook does what at which point, in which order."""
    from seg_runner.hooks.defaults import DEFAULT_HOOKS
    from seg_runner.hooks.table import POINTS, is_live, priority_name, priority_number

    base = importlib.import_module("seg_hooks").Hook
    defaults = {hook["type"] for hook in DEFAULT_HOOKS.values()}
    hooks = [one for one in entries() if one.group == "hooks"]
    blocks = [
        "# Timetable of hooks",
        "What each hook does at each point of a run, in the order in which they are called: a smaller number comes "
        "first, equal ones in the order in which they are registered. The hooks that every run from a config has are "
        "**bold**. Made from the classes: `./run site`. The table of one run, with your own hooks: "
        "`print(runner.points)`.",
    ]
    for point, keywords in POINTS.items():
        live = sorted(
            (priority_number(getattr(one.part, "priority", "NORMAL")), one.name, one)
            for one in hooks
            if is_live(object.__new__(one.part), point)
        )
        said = parse(getattr(base, point).__doc__).summary
        takes = ", ".join(f"`{word}`" for word in ("runner", *keywords))
        blocks += [f"(point-{point})=", f"## {point}", f"{said} Gets {takes}."]
        rows = [
            f"- {number} `{priority_name(number)}` "
            + (f"**[{name}](#ref-{one.anchor})**" if name in defaults else f"[{name}](#ref-{one.anchor})")
            + f": {what_it_does(one.part, point)}"
            for number, name, one in live
        ]
        blocks.append("\n".join(rows) or "No hook of these packages acts here.")
    return "\n\n".join(blocks) + "\n"


def what_it_does(hook: type, point: str) -> str:
    """Return the first line of the method that a point calls, or of one that several points share."""
    moment = point.replace("_train_", "_").replace("_val_", "_").replace("_test_", "_")
    for name in (point, f"_{moment}"):
        method = getattr(hook, name, None)
        if method is not None and not getattr(method, "__noop_point__", False) and method.__doc__:
            return parse(method.__doc__).summary
    return parse(hook.__doc__).summary


def config_keys() -> str:
    """Return every top-level key of a config that a run reads."""
    table = importlib.import_module("seg_runner.assembly.arguments")
    slots = importlib.import_module("seg_runner.hooks.defaults")
    blocks = [
        "# Keys of a config",
        "Every key that a run reads. All other names of a config are yours; what is this runner's own, and no key of "
        f"MMEngine's, lies under `{table.OWN}`. "
        "What stands in the dicts is the part's own: [hooks](hooks.md), [schedules](param-schedulers.md), "
        "[metrics](metrics.md), and so on.",
        "## What is trained, and where",
    ]
    blocks += [key_line(key, "", text) for key, text in table.ALSO.items()]
    remarks = comments(table)
    for key in table.CONFIG_KEYS:
        argument = table.ARGUMENTS[key]
        head, remark = remarks.get(key, ("", ""))
        blocks += [f"## {head}"] if head else []
        kind = annotation_of(table.Arguments, key)
        facts = f" · `{kind}`" * (kind != "Any") + f" · default `{shown(argument.default)}`"
        text = " ".join(f"{text[0].upper()}{text[1:].rstrip('.')}." for text in (remark, argument.expected) if text)
        place = f"{table.OWN}.{key}" if key in table.OWN_KEYS else key
        blocks.append(key_line(key, facts, escape(text), place) + inner_keys(key))
    listing = "\n".join(
        f"- `{slot}`{{#config-default_hooks-{slot}}}: `{shown(hook)}`" for slot, hook in slots.DEFAULT_HOOKS.items()
    )
    blocks += ["## Default hooks", "What `default_hooks` has unless it says otherwise.", listing]
    blocks += [
        "## Keys for several processes",
        "They are MMEngine's, and say how [several processes](../several-processes.md) train. On one process they have "
        "no effect, and a line of the log says so.",
    ]
    blocks += [
        "\n".join(
            f"- `{key}`" + ("" if key in table.CONFIG_KEYS else f"{{#config-{key}}}") for key in slots.WITHOUT_EFFECT
        )
    ]
    return "\n\n".join(blocks) + "\n"


def key_line(key: str, facts: str, text: str, place: str = "") -> str:
    """Return a key as an item of a definition list; `place` is where a config has it, if not at the top."""
    place = place or key
    return f"`{place}`{{#config-{place.replace('.', '-')}}}{facts}\n: {text or 'See the part that it names.'}"


def inner_keys(key: str) -> str:
    """Return the keys inside of a key whose value is no part with a class of its own."""
    run = importlib.import_module("seg_runner.process.randomness")
    machine = importlib.import_module("seg_runner.process.environment")
    loader = importlib.import_module("seg_runner.data.loader")
    checks = importlib.import_module("seg_runner.assembly.argument_checks")
    said = parse(run.Randomness.__doc__).options
    inner = {
        "randomness": {name: said.get(name, "") for name in run.KEYS} if hasattr(run, "KEYS") else said,
        "env_cfg": dict.fromkeys(machine._KEYS, ""),
        "load_options": dict.fromkeys(checks.LOAD_OPTIONS, ""),
    }.get(key, {})
    if key.endswith("_dataloader"):
        inner = {"": parse(loader.build_dataloader.__doc__).options["cfg"]}
    place = f"seg.{key}" if key == "load_options" else key
    anchor = f"config-{place.replace('.', '-')}"
    lines = [
        f"`{place}.{name}`{{#{anchor}-{name}}}" * bool(name) + f"{': ' * bool(name and text)}{text}"
        for name, text in inner.items()
    ]
    return "".join(f"\n\n  {line}" for line in lines)


def comments(module: object) -> dict[str, tuple[str, str]]:
    """Return key -> the heading above it in the source, and the remark at its line, of the table of arguments."""
    source = inspect.getsource(module.Arguments)  # type: ignore[attr-defined]
    found: dict[str, tuple[str, str]] = {}
    head, lines = "", source.splitlines()
    rows = {
        node.target.id: (node.lineno, node.end_lineno)
        for node in ast.parse(source).body[0].body
        if isinstance(node, ast.AnnAssign)
    }
    remarks = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    for key, (first, last) in rows.items():
        above = lines[first - 2].strip()
        if above.startswith("#"):
            head = above.lstrip("# ").rstrip(".")
        said = [
            remarks[line] for line in range(first, last + 1) if line in remarks and lines[line - 1].strip()[0] != "#"
        ]
        found[key] = (head, " ".join(said))
        head = ""
    return found


def parsers() -> Iterator[argparse.ArgumentParser]:
    """Yield the parser of each command."""
    yield importlib.import_module("seg_engine.cli").make_parser()
    yield importlib.import_module("seg_engine.plan.__main__").make_parser()
    yield importlib.import_module("seg_vis.command.command").parser()


def commands() -> str:
    """Return every command with its options, from the parsers."""
    come = "`seg` and `python -m seg_engine.plan` come with seg-engine, `python -m seg_vis` with seg-vis alone."
    blocks = ["# Commands", come]
    for parser in parsers():
        blocks += [f"## {parser.prog}", escape(one_line(parser.description or "")), options(parser)]
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for verb in action.choices.values():
                    blocks += [f"(command-{slug(verb.prog)})=", f"## {verb.prog}", described(verb), options(verb)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def described(parser: argparse.ArgumentParser) -> str:
    """Return what a command does, and how it is called."""
    first, _, rest = (parser.description or "").strip().partition("\n")
    rest = f"```text\n{inspect.cleandoc(rest)}\n```" if rest.strip() else ""
    usage = re.sub(r"\s+", " ", parser.format_usage().removeprefix("usage: ")).strip()
    return "\n\n".join(filter(None, [escape(first), f"```text\n{usage}\n```", rest]))


def options(parser: argparse.ArgumentParser) -> str:
    """Return the options of a parser as a definition list."""
    lines = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            continue
        names = action.option_strings or [str(action.metavar or action.dest)]
        given = "" if action.nargs == 0 or not action.option_strings else f" {action.metavar or action.dest.upper()}"
        given = given if isinstance(given, str) else ""
        choices = f" · one of {', '.join(f'`{one}`' for one in action.choices)}" if action.choices else ""
        said = "taken and not looked at" if action.help == argparse.SUPPRESS else action.help or ""
        text = escape(one_line(said % {"default": action.default, "prog": parser.prog}))
        mark = slug("option", parser.prog, (action.option_strings or [action.dest])[-1])
        lines.append(f"`{', '.join(names)}{given}`{{#{mark}}}{choices}\n: {text or 'No more to say.'}\n")
    return "\n".join(lines)


LAUNCHER_VARIABLE = re.compile(r"RANK|[A-Z][A-Z0-9]*_[A-Za-z0-9_]+")


def variables() -> str:
    """Return the environment variables that the sources read, and where."""
    found: dict[str, set[str]] = {}
    for name in NAMES:
        for path in sorted(project(name).source.rglob("*.py")):
            module = path.relative_to(project(name).source.parent).with_suffix("").as_posix().replace("/", ".")
            for variable in read_in(path.read_text(encoding="utf-8"), module):
                found.setdefault(variable, set()).add(module)
    blocks = [
        "# Environment variables",
        "Every variable that the sources read, and the modules that do. Besides these, a config reads what its "
        "templates `{{$NAME:default}}` name, and PyTorch and the other libraries read their own.",
    ]
    rows = [
        f"`{name}`{{#variable-{name.lower()}}}\n: {', '.join(f'`{one}`' for one in sorted(found[name]))}\n"
        for name in sorted(found)
    ]
    return "\n\n".join([*blocks, "\n".join(rows)]) + "\n"


def read_in(source: str, module: str) -> Iterator[str]:
    """Yield the names of variables that a module reads from `os.environ` or a copy of it.

    A module `launch` names in tables what launchers set: there each text that looks like a variable is one.
    """
    tree = ast.parse(source)
    if module.endswith(".launch"):
        texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
        yield from (text for text in texts if isinstance(text, str) and LAUNCHER_VARIABLE.fullmatch(text))
    for node in ast.walk(tree):
        key = None
        if isinstance(node, ast.Subscript) and "environ" in ast.unparse(node.value):
            key = node.slice
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            if "environ" in ast.unparse(node.func.value) and node.func.attr in ("get", "setdefault", "pop"):
                key = node.args[0]
        elif isinstance(node, ast.Compare) and "environ" in ast.unparse(node.comparators[0]):
            key = node.left
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            yield key.value
        elif isinstance(key, ast.Name) and key.id.isupper():
            yield getattr(importlib.import_module(module), key.id)
