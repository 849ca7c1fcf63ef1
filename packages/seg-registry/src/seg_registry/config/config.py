"""Config: a loaded config file, with its values, texts and origins."""

from __future__ import annotations

import os
import warnings
from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any

from seg_registry.config.load import Loader
from seg_registry.errors import ConfigKeyError, ConfigTypeError, ConfigWarning
from seg_registry.overrides.parse_options import split_key
from seg_registry.suggest import did_you_mean
from seg_registry.values.config_dict import ConfigDict
from seg_registry.values.marked_dict import is_index
from seg_registry.values.origins import Origin, origin_of

__all__ = ["Config"]

_RESERVED = ("filename", "text", "pretty_text", "env_variables")
_OWN = frozenset({"_cfg_dict", "_filename", "_texts", "_env_variables", "_files"})


class Config:
    """A config: attribute and item access to its values, and where each of them came from.

    Load a file with `Config.fromfile`, or wrap a dict: `Config(dict(...))`.

    >>> cfg = Config(dict(model=dict(type="UNet", depth=4)))
    >>> cfg.model.depth, cfg["model"]["type"]
    (4, 'UNet')
    >>> print(cfg.pretty_text, end="")
    model = dict(type='UNet', depth=4)
    """

    _cfg_dict: ConfigDict
    _filename: str | None
    _texts: list[tuple[str, bytes]]
    _env_variables: dict[str, str]

    def __init__(
        self,
        cfg_dict: Mapping[str, Any] | None = None,
        cfg_text: str | None = None,
        filename: str | os.PathLike[str] | None = None,
        env_variables: dict[str, str] | None = None,
    ) -> None:
        if cfg_dict is not None and not isinstance(cfg_dict, Mapping):
            raise ConfigTypeError(f"cfg_dict must be a dict, got {type(cfg_dict).__name__}: {cfg_dict!r}")
        values = ConfigDict() if cfg_dict is None else ConfigDict(cfg_dict)
        texts = [] if cfg_text is None else [("", cfg_text.encode())]
        self._fill(values, texts, None if filename is None else str(filename), env_variables or {})

    def _fill(self, values: ConfigDict, texts: list[Any], filename: str | None, variables: dict[str, str]) -> None:
        for key in _RESERVED:
            if key in values:
                raise _reserved(key, filename)
        state = self.__dict__
        state["_cfg_dict"] = values
        state["_texts"] = texts
        state["_filename"] = filename
        state["_env_variables"] = variables

    @classmethod
    def fromfile(
        cls,
        filename: str | os.PathLike[str],
        use_predefined_variables: bool = True,
        import_custom_modules: bool = False,
        use_environment_variables: bool = True,
        lazy_import: bool | None = None,
        format_python_code: bool = True,
        *,
        trusted: bool = False,
        alone: bool = False,
    ) -> Config:
        """Load a `.py`, `.json`, `.yaml` or `.toml` config with its bases. Runs and imports nothing.

        `trusted=True` executes Python configs as Python instead: only for files that you would also run.
        `alone=True` is for a file from elsewhere: it reads no bases and no environment variables.
        MMEngine's other keywords are taken so that calls need no change: `import_custom_modules=True` is reported
        where there is something to import (the builder does it); the style is read off the file whatever
        `lazy_import` says, and `dump` writes one form whatever `format_python_code` says.
        Errors are `ConfigError`s with `file:line`.
        """
        del lazy_import, format_python_code
        environment = use_environment_variables and not alone
        loader = Loader(predefined=use_predefined_variables, environment=environment, trusted=trusted, alone=alone)
        loaded = cls._loaded(loader, os.fsdecode(filename))
        if import_custom_modules and "custom_imports" in loaded:
            note = "custom_imports are not imported by loading; builder(cfg, allow_imports=True) imports them"
            warnings.warn(f"{filename}: {note}", ConfigWarning, stacklevel=2)
        return loaded

    @classmethod
    def _loaded(cls, loader: Loader, filename: str) -> Config:
        values = loader.load(os.path.abspath(filename))
        for file, line, note in loader.notes:
            warnings.warn(f"{file}:{line}: {note}", ConfigWarning, stacklevel=3)
        _warn_deprecated(values)
        self = cls.__new__(cls)
        self._fill(values, loader.texts, filename, loader.variables)
        return self

    @classmethod
    def fromstring(cls, text: str, suffix: str = ".py", *, trusted: bool = False, alone: bool = False) -> Config:
        """Load a config from its text; `suffix` says the format. Relative bases start at the working folder.

        `alone=True` is for a text from elsewhere, such as a checkpoint's: it reads no bases and no environment.

        >>> Config.fromstring("lr = 0.1 * 2").lr
        0.2
        """
        loader = Loader(trusted=trusted, keep=False, alone=alone, environment=not alone)
        values = loader.load_text(text, os.path.join(os.getcwd(), f"<string>{suffix}"))
        self = cls.__new__(cls)
        self._fill(values, loader.texts, None, loader.variables)
        return self

    @property
    def filename(self) -> str | None:
        """Return the path that the config was loaded from, as given."""
        return self._filename

    @property
    def env_variables(self) -> dict[str, str]:
        """Return the environment variables that templates took in."""
        return self._env_variables

    @property
    def text(self) -> str:
        """Return the text of every file of the chain, bases first, each after its path."""
        texts = [(f"{path}\n" if path else "") + data.decode("utf-8-sig") for path, data in reversed(self._texts)]
        return "\n".join(texts)

    @property
    def pretty_text(self) -> str:
        """Return the config as readable Python that loads back equal."""
        from seg_registry.config.write_python import to_python

        return to_python(self._cfg_dict)

    def origin(self, path: str) -> Origin:
        """Return the chain of `file:line` that set and overrode the value at a dotted path, overrides included.

        A key that is missing is a KeyError that names the nearest.
        """
        steps, here = [], self._cfg_dict
        for step in split_path(path, here):
            steps.append(step)
            here = here[step]
        files = [file for file, _ in reversed(self._texts)]
        return origin_of(self._cfg_dict, steps, files)

    def reads(self, name: str) -> bool:
        """Tell whether a file of the chain reads this top-level name: as a variable, `_base_.name`, or in a template.

        >>> cfg = Config.fromstring("size = 64\\nmodel = dict(size=size)")
        >>> cfg.reads("size"), cfg.reads("model")
        (True, False)
        """
        from seg_registry.config.used_names import used_names

        return name in used_names(self._texts)

    def merge_from_dict(
        self, options: Mapping[str, Any], allow_list_keys: bool = True, *, strict: bool = False, source: str = ""
    ) -> None:
        """Override values by dotted keys: `{'optim_wrapper.optimizer.lr': 0.02}`.

        List elements are addressed by number (`train_pipeline.0.prob`). A leading `+` appends to a list or adds a
        key without the near-name check. With `strict` (the command line) a new key that looks like an existing one
        is an error; without, it is reported. `source` says where the options came from, for `origin`.
        """
        from seg_registry.overrides.apply import apply

        for key in options:
            if str(key).removeprefix("+").partition(".")[0] in _RESERVED:
                raise _reserved(key, self._filename)
        apply(self._cfg_dict, options, allow_list_keys=allow_list_keys, strict=strict, source=source)

    def dump(self, file: str | os.PathLike[str] | None = None) -> str | None:
        """Write the config to a file, in the format that its suffix says; without a file, give the text.

        A file that is there is replaced in one step: a writer that fails or is killed leaves it as it was.
        """
        from seg_registry.config.write import to_text
        from seg_registry.files import write_whole

        suffix = os.path.splitext(str(file or self._filename or ".py"))[1].lower()
        text = to_text(self._cfg_dict, suffix)
        if file is None:
            return text
        write_whole(file, text.encode())
        return None

    @staticmethod
    def diff(one: Config | str, other: Config | str) -> Any:
        """Return what differs, by key path: a list of changes that prints as one line each; empty when equal."""
        from seg_registry.config.diff import diff

        tables = [each if isinstance(each, Config) else Config.fromfile(each) for each in (one, other)]
        return diff(tables[0]._cfg_dict, tables[1]._cfg_dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the values as plain dicts, lists and tuples."""
        return self._cfg_dict.to_dict()

    def __getattr__(self, name: str) -> Any:
        if name in _OWN or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._cfg_dict, name)

    def __setattr__(self, name: str, value: object) -> None:
        if name in _RESERVED:
            raise _reserved(name, self._filename)
        setattr(self._cfg_dict, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._cfg_dict, name)

    def __getitem__(self, key: str) -> Any:
        return self._cfg_dict[key]

    def __setitem__(self, key: str, value: object) -> None:
        if key in _RESERVED:
            raise _reserved(key, self._filename)
        self._cfg_dict[key] = value

    def __delitem__(self, key: str) -> None:
        if key not in self._cfg_dict:
            self._cfg_dict.__missing__(key)
        del self._cfg_dict[key]

    def __contains__(self, key: object) -> bool:
        return key in self._cfg_dict

    def __iter__(self) -> Iterator[str]:
        return iter(self._cfg_dict)

    def __len__(self) -> int:
        return len(self._cfg_dict)

    def keys(self) -> KeysView[str]:
        """Return the top-level keys."""
        return self._cfg_dict.keys()

    def values(self) -> ValuesView[Any]:
        """Return the top-level values."""
        return self._cfg_dict.values()

    def items(self) -> ItemsView[str, Any]:
        """Return the top-level keys and values."""
        return self._cfg_dict.items()

    def __eq__(self, other: object) -> bool:
        return not Config.diff(self, other) if isinstance(other, Config) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Config (path: {self._filename}): {self._cfg_dict!r}"

    def copy(self) -> Config:
        """Return a shallow copy: nested values are shared."""
        return self._with(self._cfg_dict.copy())

    __copy__ = copy

    def __deepcopy__(self, memo: dict[int, Any]) -> Config:
        return self._with(self._cfg_dict.__deepcopy__(memo))

    def _with(self, values: ConfigDict) -> Config:
        made = type(self).__new__(type(self))
        made._fill(values, self._texts, self._filename, dict(self._env_variables))
        return made

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def _reserved(key: str, file: str | None) -> ConfigKeyError:
    return ConfigKeyError(f"{key!r} is an attribute of Config and cannot be a top-level key", file=file)


def split_path(path: str, root: object) -> list[Any]:
    """Return the steps of a dotted path; a number is an index where the value there is a list or tuple."""
    steps: list[Any] = []
    here: Any = root
    for word in split_key(path):
        step: Any = word
        if isinstance(here, list | tuple):
            if not is_index(word) or not -len(here) <= int(word) < len(here):
                raise ConfigKeyError(f"no element {word!r} in the list of {len(here)} on the way to {path!r}")
            step = int(word)
        elif not isinstance(here, dict) or word not in here:
            known = here if isinstance(here, dict) else ()
            raise ConfigKeyError(f"no key {word!r} on the way to {path!r}; {did_you_mean(word, known)}".rstrip("; "))
        here = here[step]
        steps.append(step)
    return steps


def _warn_deprecated(values: ConfigDict) -> None:
    notice = values.get("_deprecation_")
    if not isinstance(notice, dict):
        return
    del values["_deprecation_"]
    hints = [f"use {notice['expected']}"] if "expected" in notice else []
    hints += [f"see {notice['reference']}"] if "reference" in notice else []
    message = "this config is deprecated" + (": " if hints else "") + ", ".join(hints)
    warnings.warn(message, DeprecationWarning, stacklevel=4)
