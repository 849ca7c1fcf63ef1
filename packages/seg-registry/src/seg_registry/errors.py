"""The package's own errors: each says what was given, what was expected, what to do, and where (`file:line`)."""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "ConfigFileError",
    "ConfigKeyError",
    "ConfigSyntaxError",
    "ConfigTypeError",
    "ConfigWarning",
    "DuplicateNameError",
    "LimitError",
    "NotAllowedError",
    "OverrideError",
    "RegistryError",
    "UnsafeConfigError",
]


_LONGEST = 2000  # characters of a message, which may show values of the config


class ConfigWarning(UserWarning):
    """Something in a config that loads, but probably does not mean what was wanted."""


class ConfigError(ValueError):
    """A config that cannot be loaded, merged or written; the family of all config errors.

    `file` and `line` say where; both are also the first words of the message.

    >>> print(ConfigError("expected a dict", file="train.py", line=3))
    train.py:3: expected a dict
    """

    def __init__(self, message: str, *, file: str | None = None, line: int | None = None) -> None:
        self.message = (
            message if len(message) <= _LONGEST else f"{message[:_LONGEST]} ... ({len(message):,} characters)"
        )
        self.file = file
        self.line = line
        super().__init__(str(self))

    def __str__(self) -> str:
        if self.file is None:
            return self.message
        return f"{self.file}:{self.line or 1}: {self.message}"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.file, self.line)


def _rebuild(kind: type[ConfigError], message: str, file: str | None, line: int | None) -> ConfigError:
    return kind(message, file=file, line=line)


class ConfigSyntaxError(ConfigError, SyntaxError):
    """A config file that cannot be parsed: broken syntax, wrong encoding, NUL bytes."""

    def __init__(self, message: str, *, file: str | None = None, line: int | None = None) -> None:
        ConfigError.__init__(self, message, file=file, line=line)
        self.filename, self.lineno, self.msg = file, line, message


class ConfigFileError(ConfigError, FileNotFoundError):
    """A config file, or one of its bases, that cannot be found or read."""

    def __init__(self, message: str, *, file: str | None = None, line: int | None = None) -> None:
        ConfigError.__init__(self, message, file=file, line=line)


class ConfigKeyError(ConfigError, KeyError):
    """A key that is missing, doubled or reserved."""


class ConfigTypeError(ConfigError, TypeError):
    """A value of the wrong type, such as a dict over a number without `_delete_=True`."""


class UnsafeConfigError(ConfigError):
    """A construct that is not evaluated, because a config is data and nothing in it runs."""


class LimitError(ConfigError):
    """A config that asks for more work, size or depth than a config needs."""


class OverrideError(ConfigError):
    """An override (`--cfg-options`, `merge_from_dict`) that cannot be parsed or does not fit the config."""


class RegistryError(KeyError):
    """A name that no registry knows, with everything that helps to find out why."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class NotAllowedError(RegistryError):
    """A dotted path that a config may not use: what it resolves to lies outside the allowed packages."""


class DuplicateNameError(RegistryError):
    """A name that two different objects were registered under."""
