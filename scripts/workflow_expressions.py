"""`${{ … }}` of workflows, evaluated by GitHub's own library (npm's `@actions/expressions`) in a process beside."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Collection, Mapping
from types import TracebackType
from typing import Any

import node_tools

INSIDE = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
STATUS = re.compile(r"\b(always|success|failure|cancelled)\s*\(")


class WorkflowError(Exception):
    """What in a workflow cannot be run here, or is wrong, in words."""


class Expressions:
    """Evaluates expressions; a context manager, because a process answers."""

    def __enter__(self) -> Expressions:
        command = ["node", str(node_tools.installed() / "expressions.mjs")]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.communicate()

    def ask(self, text: str, contexts: Mapping[str, Any], outcomes: Collection[str] = ()) -> dict[str, Any]:
        """Return the value of an expression, and the text that it becomes inside of other text."""
        succeeded = not {*outcomes} - {"success", "not run"}  # after what was skipped, neither holds
        status = {"always": True, "success": succeeded, "failure": "failure" in outcomes, "cancelled": False}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps({"text": text, "contexts": contexts, "status": status}), file=self.process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise WorkflowError(f"${{{{ {text.strip()} }}}}: {answer['error']}")
        return answer

    def fill(self, value: Any, contexts: Mapping[str, Any]) -> Any:
        """Return a value of a workflow with its expressions evaluated; text that is one expression takes its type."""
        if isinstance(value, Mapping):
            return {name: self.fill(each, contexts) for name, each in value.items()}
        if isinstance(value, list):
            return [self.fill(each, contexts) for each in value]
        if not isinstance(value, str):
            return value
        if whole := INSIDE.fullmatch(value.strip()):
            return self.ask(whole[1], contexts)["value"]
        return INSIDE.sub(lambda found: self.ask(found[1], contexts)["text"], value)

    def holds(self, condition: object, contexts: Mapping[str, Any], outcomes: Collection[str]) -> bool:
        """Tell whether an `if` is met after these outcomes; without a word about them, all must be successes."""
        text = "success()" if condition is None else condition if isinstance(condition, str) else json.dumps(condition)
        if whole := INSIDE.fullmatch(text.strip()):
            text = whole[1]
        if not STATUS.search(text):
            text = f"success() && ({text})"
        return bool(self.ask(f"!!({text})", contexts, outcomes)["value"])
