"""The command `python -m seg_engine.plan`: prints the table of a plan, or measures figures for one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from seg_engine.plan.formulae import Failures, Links, Model, Storage
from seg_engine.plan.measured import of_config, stage_rate, write_rate
from seg_engine.plan.table import Plan, Training, as_text

__all__ = ["main"]

GB = 1e9


def make_parser() -> argparse.ArgumentParser:
    """Return the parser; every assumption is an option."""
    parser = argparse.ArgumentParser(prog="python -m seg_engine.plan", description=__doc__)
    parser.add_argument("--measure", type=Path, metavar="DIR", help="measure this machine, writing to DIR, and leave")
    parser.add_argument("--config", type=Path, help="count parameters and batch norms of its model")
    parser.add_argument("--samples", type=int, default=0, help="with --measure and --config: read so many, and time it")
    parser.add_argument("--trust-config", action="store_true", help="build any installed package that the config names")
    parser.add_argument("--devices", type=int, nargs="+", default=[64, 256, 1024])
    model = parser.add_argument_group("the model")
    model.add_argument("--millions", type=float, help="of parameters")
    model.add_argument("--units", type=int, default=24, help="blocks that FSDP gathers one by one (24)")
    model.add_argument("--sync-bn", type=int, nargs=2, default=(0, 0), metavar=("LAYERS", "CHANNELS"))
    model.add_argument("--ema", action="store_true", help="averaged weights are in the checkpoint, too")
    links = parser.add_argument_group("the machines; rates in GB/s, as collectives reach them")
    links.add_argument("--per-node", type=int, default=8, help="devices of a machine (8)")
    links.add_argument("--within", type=float, default=300.0, help="of a device within its machine (300)")
    links.add_argument("--across", type=float, default=300.0, help="of a machine to the others (300)")
    links.add_argument(
        "--latency", type=float, nargs=3, default=(3, 10, 30), metavar="US", help="a hop: within, across, TCP (3 10 30)"
    )
    run = parser.add_argument_group("the run")
    run.add_argument("--step", type=float, default=0.25, help="seconds of a step on one device (0.25)")
    run.add_argument("--batch", type=int, default=2, help="samples of a device (2)")
    run.add_argument("--base", type=int, nargs=2, default=(16, 160000), metavar=("BATCH", "STEPS"), help="(16 160000)")
    run.add_argument("--sample-kb", type=float, default=100.0, help="read from the disk for a sample, kB (100)")
    run.add_argument("--sample-ms", type=float, default=30.0, help="CPU time of a sample (30)")
    disk = parser.add_argument_group("checkpoints; rates in GB/s")
    disk.add_argument("--stage", type=float, default=5.0, help="at which a state is copied aside (5)")
    disk.add_argument("--write", type=float, default=1.0, help="at which one process writes (1)")
    disk.add_argument("--disk", type=float, default=50.0, help="of the shared disk for all (50)")
    disk.add_argument("--settle", type=float, default=Storage.settle, help="seconds of any, however small (0.05)")
    disk.add_argument("--failure-hours", type=float, default=Failures.device_hours, help="of a device (50,677)")
    disk.add_argument("--restart", type=float, default=Failures.restart, help="seconds from a failure to a step (300)")
    return parser


def make_plan(given: argparse.Namespace) -> Plan:
    """Return the plan of what was given."""
    of_model = {"parameters": given.millions * 1e6, "norms": given.sync_bn[0], "channels": given.sync_bn[1]}
    return Plan(
        Model(**of_model, units=given.units),
        Links(given.per_node, given.within * GB, given.across * GB, *(1e-6 * each for each in given.latency)),
        Training(given.step, given.batch, given.base[0], given.base[1], 1e3 * given.sample_kb, 1e-3 * given.sample_ms),
        Storage(given.stage * GB, given.write * GB, given.disk * GB, given.settle),
        Failures(given.failure_hours, given.restart),
        given.ema,
    )


def measure(given: argparse.Namespace) -> None:
    """Print figures of this machine as the options that they are for."""
    found = {}
    if given.config is not None:
        found = of_config(given.config, given.trust_config, given.samples)
        print(f"--millions {found['parameters'] / 1e6:.3f} --sync-bn {found['norms']:.0f} {found['channels']:.0f}")
    if "sample_seconds" in found:
        print(f"--sample-ms {1e3 * found['sample_seconds']:.1f}")
    print(f"--stage {stage_rate() / GB:.2f} --write {write_rate(given.measure) / GB:.2f}")


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; 2 where an option is missing or does not fit."""
    parser = make_parser()
    given = parser.parse_args(words)
    try:
        if given.measure is not None:
            measure(given)
            return 0
        if given.config is not None:
            found = of_config(given.config, given.trust_config, 0)
            given.millions, given.sync_bn = found["parameters"] / 1e6, (int(found["norms"]), int(found["channels"]))
        if given.millions is None:
            parser.error("how large is the model? --millions 82, or --config FILE, whose parameters are counted")
        print(as_text(make_plan(given), given.devices))
    except (OSError, ImportError, LookupError, TypeError, ValueError) as error:
        parser.error("\n".join([str(error), *getattr(error, "__notes__", ())]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
