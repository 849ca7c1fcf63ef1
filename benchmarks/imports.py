"""What importing each package costs: CPU seconds of a fresh process, beside the bare interpreter and `import torch`.

Run with `./run bench imports`. Processes are interleaved; the figures are medians.
"""

from __future__ import annotations

import statistics
import sys

from _measure import in_process, print_table

ROUNDS = 7
STATEMENTS = {
    "nothing": "pass",
    "torch": "import torch",
    "seg_registry": "import seg_registry",
    "seg_optim": "import seg_optim",
    "seg_hooks": "import seg_hooks",
    "seg_runner": "import seg_runner",
    "seg_vis": "import seg_vis",
    "seg_engine": "import seg_engine",
    "mmengine.config": "from mmengine import Config",
    "mmengine.runner": "from mmengine.runner import Runner",
}


def cpu_seconds(statement: str) -> float | None:
    """User and system time of one process; None where the module is not installed."""
    done, spent = in_process([sys.executable, "-c", statement])
    return None if done.returncode else spent


def main() -> None:
    """Print the table."""
    seconds: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for _ in range(ROUNDS + 1):
        for name, statement in STATEMENTS.items():
            if (spent := cpu_seconds(statement)) is not None:
                seconds[name].append(spent)
    median = {name: statistics.median(values[1:]) for name, values in seconds.items() if values}
    rows = [
        [name, f"{value:.3f}", f"{1000 * (value - median['nothing']):.1f}", f"{value / median['torch']:.2f}"]
        for name, value in median.items()
    ]
    print_table("CPU time of an import in a fresh process", ["import", "CPU s", "above bare, ms", "x torch"], rows)
    for name in STATEMENTS.keys() - median.keys():
        print(f"{name:18} not installed here")


if __name__ == "__main__":
    main()
