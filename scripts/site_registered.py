"""The pages of all that a config can name: one for each group of entry points, one section for each name."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from interface_config import shown, signature
from projects import NAMES, ROOT, project
from site_docstrings import Parts, documented, escape, parse
from site_examples import example, written
from site_names import FROM_THE_RUN

PREFIX = "seg_engine."
GROUPS = {  # group: title, what it is, and where a config names it
    "hooks": ("Hooks", "What acts at named moments of a run.", "custom_hooks = [{}]"),
    "optim_wrappers": ("Optimizer wrappers", "One update: backward, accumulate, clip, step.", "optim_wrapper = {}"),
    "optim_wrapper_constructors": (
        "Constructors",
        "Which options of the optimizer each parameter gets.",
        "optim_wrapper = {}",
    ),
    "optimizers": ("Optimizers", "The rule that changes the weights.", "optim_wrapper = dict(optimizer={})"),
    "param_schedulers": ("Schedules", "Learning rate and momentum over time.", "param_scheduler = [{}]"),
    "loops": ("Loops", "What trains, validates and tests.", "train_cfg = {}"),
    "runners": ("Runners", "What holds a whole run.", 'runner_type = "{name}"'),
    "metrics": ("Metrics", "What judges predictions.", "val_evaluator = {}"),
    "evaluators": ("Evaluators", "What drives the metrics.", "val_evaluator = {}"),
    "datasets": ("Data sets", "Where images and label maps are.", "train_dataloader = dict(dataset={})"),
    "transforms": ("Transforms", "What happens to an image on its way to the model.", "train_pipeline = [{}]"),
    "data_samplers": ("Samplers", "In which order images come.", "train_dataloader = dict(sampler={})"),
    "functions": ("Functions", "How images become a batch.", "train_dataloader = dict(collate_fn={})"),
    "models": ("Models and losses", "Segmentors, their parts, losses, and averaged models.", "model = {}"),
    "visualizers": ("Visualizers", "What draws, and hands pictures and numbers to the backends.", "visualizer = {}"),
    "vis_backends": (
        "Backends",
        "Where pictures and numbers go.",
        'visualizer = dict(type="SegLocalVisualizer", vis_backends=[{}])',
    ),
    "log_processors": ("Log processors", "What a log line says.", "log_processor = {}"),
    "build": ("Builder", "What turns the names of a config into objects.", ""),
}
PLACES = {  # the last part of a module: where a config names what it has, if not where its group is named
    "backbones": "model = dict(backbone={})",
    "heads": "model = dict(decode_head={})",
    "losses": "model = dict(decode_head=dict(loss_decode={}))",
    "region_losses": "model = dict(decode_head=dict(loss_decode={}))",
    "preprocessor": "model = dict(data_preprocessor={})",
    "segmentor": "model = {}",
    "tta": "tta_model = {}",
}
REFERENCES = {"mmengine": "MMEngine", "mmseg": "MMSegmentation", "mmcv": "MMCV", "torch": "PyTorch, by MMEngine"}
LINKS = "https://docs.pytorch.org/docs/stable/generated/torch.optim.{}.html"


@cache
def reference_names() -> dict[str, dict[str, str]]:
    """Return group -> name -> the package of the reference that has it (`./run parity:names`)."""
    found: dict[str, dict[str, str]] = json.loads((ROOT / "docs/reference_names.json").read_text(encoding="utf-8"))
    return found


@dataclass(frozen=True)
class Registered:
    """One entry point."""

    group: str
    name: str
    target: str
    distribution: str

    @property
    def anchor(self) -> str:
        """The name of its section, for links."""
        return f"{self.group.replace('_', '-')}-{self.name}"

    @cached_property
    def part(self) -> Any:
        """Import it."""
        module, _, attribute = self.target.partition(":")
        return getattr(importlib.import_module(module), attribute)

    @property
    def ours(self) -> bool:
        """Whether it is ours, and not another library's."""
        module, _, attribute = self.target.partition(":")
        return module.startswith("seg_") and not (module.endswith("optional_optimizers") and attribute == self.name)

    @cached_property
    def options(self) -> dict[str, inspect.Parameter]:
        """What it takes by name; a runner hands some in itself, which a config does not give."""
        taken = signature(self.part).parameters if self.ours else {}
        return {
            name: each for name, each in taken.items() if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
        }

    @property
    def documentation(self) -> Parts:
        """What its docstring says; of other libraries' parts one line."""
        return documented(self.part) if self.ours else Parts(parse(self.part.__doc__).summary)


def entries() -> Iterator[Registered]:
    """Yield every entry point of the project's groups, by name."""
    for name in NAMES:
        table = project(name).pyproject()["project"]
        for group, names in table.get("entry-points", {}).items():
            if group.startswith(PREFIX):
                for one, target in names.items():
                    yield Registered(group.removeprefix(PREFIX), one, target, name)


def page_of(group: str) -> str:
    """Return the file of a group's page."""
    return f"{group.replace('_', '-')}.md"


def option_line(anchor: str, name: str, option: inspect.Parameter, text: str) -> str:
    """Return an option as an item of a definition list: name, type, default; what it does."""
    kind = "" if option.annotation is option.empty else f" · `{option.annotation}`"
    default = "**required**" if option.default is option.empty else f"default `{shown(option.default)}`"
    default = "" if option.default is ... else f" · {default}"
    return f"`{name}`{{#{anchor}-{name}}}{kind}{default}\n: {text or 'Not described.'}\n"


def text_of_key(one: Registered, name: str) -> str:
    """Return what a runner's table of arguments says of one, which is a key of a config too."""
    if one.group != "runners":
        return ""
    from seg_runner.assembly.arguments import ALSO, ARGUMENTS, OWN

    if name in ALSO:
        return ALSO[name]
    expected, under = ARGUMENTS[name].expected, f"{OWN}-" * ARGUMENTS[name].own
    return (f"{expected[0].upper()}{expected[1:]}. " if expected else "") + (
        f"[As a key of a config](#config-{under}{name.lower()})." if ARGUMENTS[name].in_config else ""
    )


def example_of(one: Registered) -> str:
    """Return how a config names it, as Markdown."""
    from seg_runner.hooks.defaults import DEFAULT_HOOKS

    where = PLACES.get(one.target.partition(":")[0].rpartition(".")[2], GROUPS[one.group][2])
    if not where:
        return ""
    slot = next((slot for slot, hook in DEFAULT_HOOKS.items() if hook["type"] == one.name), None)
    if one.group == "hooks" and slot:
        where = f"default_hooks = dict({slot}={{}})"
    if one.group == "loops":
        where = where.replace("train", {"Tes": "test", "Val": "val"}.get(one.name[:3], "train"))
    given = FROM_THE_RUN.get(one.group, set())
    needs = {key for key, each in one.options.items() if each.default is each.empty} - given - {"save_dir"}
    if one.group == "models" and one.distribution == "seg-hooks":
        where, needs = f'custom_hooks = [dict(type="EMAHook", ema_type="{one.name}")]', set()
    key = "constructor" if one.group == "optim_wrapper_constructors" else "type"
    found = example(one.name, set(one.options), needs, key) or example_of_family(one, needs)
    if found is None:
        found = {key: one.name} | ({"optimizer": {"type": "AdamW", "lr": 0.001}} if key == "constructor" else {})
        found |= {"lr": 0.001} if one.group == "optimizers" else {}
    return "```python\n" + where.format(written(found), name=one.name) + "\n```"


def example_of_family(one: Registered, needs: set[str]) -> Mapping[str, Any] | None:
    """Return the example of another schedule of the same shape, under this one's name."""
    shape = one.name.removesuffix("Momentum").removesuffix("ParamScheduler")
    if one.group != "param_schedulers" or shape == one.name:
        return None
    found = example(f"{shape}LR", set(one.options), needs - {"param_name"})
    named = {"param_name": "lr"} if "param_name" in needs else {}
    return None if found is None else {**found, "type": one.name} | named


def section(one: Registered) -> str:
    """Return the section of one name."""
    said = one.documentation
    blocks = [f"(ref-{one.anchor})=", f"## {one.name}", said.summary or escape(one.name), said.text]
    reference = reference_names().get(PREFIX + one.group, {}).get(one.name)
    origin = f"the same name in {REFERENCES.get(reference, 'MMEngine')}" if reference else "not in MMEngine"
    known = one.ours and one.name in importlib.import_module(one.target.partition(".")[0].partition(":")[0]).__all__
    api = f" · API: {{py:obj}}`{one.target.partition(':')[0].partition('.')[0]}.{one.name}`" if known else ""
    blocks.append(f"*{one.distribution}* · {origin}{api}")
    blocks.append(example_of(one))
    lines = [
        option_line(f"ref-{one.anchor}".lower(), name, option, said.options.get(name) or text_of_key(one, name))
        for name, option in one.options.items()
        if name not in FROM_THE_RUN.get(one.group, set())
    ]
    if lines:
        blocks.append("**Options**\n\n" + "\n".join(lines))
    if one.target.startswith("torch.optim"):
        blocks.append(f"Its options are PyTorch's: [{one.name}]({LINKS.format(one.target.partition(':')[2])}).")
    if not one.ours and not one.target.startswith("torch.optim"):
        blocks.append("Its options are those of the library that has it, which must be installed.")
    if said.raises:
        blocks.append("**Errors**\n\n" + "\n".join(f"- `{kind}`: {text}" for kind, text in said.raises))
    if said.example:
        blocks.append("**In Python**\n\n" + said.example)
    return "\n\n".join(block for block in blocks if block)


def pages() -> Iterator[tuple[str, str]]:
    """Yield file and text of each group's page.

    Raises:
        KeyError: a group that GROUPS has no title for.
    """
    grouped: dict[str, list[Registered]] = {}
    for one in entries():
        grouped.setdefault(one.group, []).append(one)
    for group in GROUPS:
        title, what, _ = GROUPS[group]
        found = sorted(grouped.pop(group), key=lambda one: one.name.lower())
        listing = "\n".join(f"- [`{one.name}`](#ref-{one.anchor}): {one.documentation.summary}" for one in found)
        intro = f"{what} Names of the entry-point group `{PREFIX}{group}`: any package can add to it."
        yield page_of(group), "\n\n".join([f"# {title}", intro, listing, *map(section, found)]) + "\n"
    if grouped:
        raise KeyError(f"scripts/site_registered.py: GROUPS has no title for {', '.join(grouped)}")
