"""Contestants that take turns: ours as threads of one process, peers in processes with the python of their environment.

A script names its contests and hands them over; the first contestant is the bare limit:

    def bare():
        numbers = list(range(1000))  # setting up is not measured
        return lambda: sum(numbers)  # the work, done once

    def ours(turn):  # a loop that goes on by itself (one parameter) says where a turn ends
        for batch in batches(turn.count * 50):
            ...
            if last_of_fifty:
                turn(50)  # so many steps were done: a figure is that of one

    CONTESTS = [Contest("a sum", {"bare": bare, "ours": ours, "theirs": Contestant(theirs, "theirpackage", "peers")})]

    if __name__ == "__main__":
        main(CONTESTS)

Imports of ours and of peers belong into the contestants: the environment of a peer holds neither ours nor other peers.
In each round every contestant has one turn, and the order turns, so that a machine whose speed wavers slows all of them
alike; ratios and differences are taken in pairs, with the bare limit's turn of the same round.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from _environments import PEERS, python_for
from _figures import Goal, Values, figures, rows, table_header
from _measure import print_table
from _turns import Player, Put_out, Seat, cores, serve

__all__ = ["Contest", "Contestant", "Goal", "main", "run"]

SetUp = Callable[..., Any]
ENOUGH = 5
"""So many rounds are measured, however long they take."""


@dataclass(frozen=True)
class Contestant:
    """How a contestant is set up, the modules it needs, and the environment of `hatch.toml` that has them."""

    set_up: SetUp
    needs: str | tuple[str, ...] = ()
    environment: str | None = None
    rounds: int | None = None  # a slow peer takes part in fewer of them

    @property
    def modules(self) -> tuple[str, ...]:
        """What must be installed."""
        return (self.needs,) if isinstance(self.needs, str) else self.needs


@dataclass(frozen=True)
class Contest:
    """Contestants by name, the bare limit first, and how they are measured."""

    title: str
    contestants: Mapping[str, Contestant | SetUp]
    measure: str = "cpu"  # or "wall" (seconds, too), "peak" (bytes of memory), "own" (seconds that the work returned)
    unit: str = "ms"  # or "s", "us", "MB"
    rounds: int = 15
    seconds: float = 30.0  # no more rounds begin after so long, once there are ENOUGH
    least: float = 0.05  # a turn repeats short work until it has taken so long
    warm: int = 1  # rounds that are not counted
    threads: int | None = 1  # None: as the contestants wish
    apart: bool = False  # each in a process of its own, as for memory, and where work starts processes or threads
    freeze: bool = False  # stop the processes whose turn it is not: their workers must not read ahead
    goals: Sequence[Goal] = ()
    of: Mapping[str, Contestant] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        given = self.contestants.items()
        plain = {name: each if isinstance(each, Contestant) else Contestant(each) for name, each in given}
        object.__setattr__(self, "of", plain)

    @property
    def base(self) -> str:
        """The bare limit."""
        return next(iter(self.contestants))

    @property
    def together(self) -> bool:
        """Whether those that need no modules share a process, and all run on the same core in each round."""
        return self.measure in ("cpu", "own") and self.threads == 1 and not self.freeze and not self.apart


@dataclass
class Outcome:
    """What each contestant's turns took, by name and round, and why some have none."""

    contest: Contest
    turns: dict[str, Values]
    absent: dict[str, str]
    versions: dict[str, dict[str, str]]

    def figures(self) -> dict[str, Any]:
        """Everything that is kept: in seconds or bytes, not rounded."""
        kept = figures(self.turns, self.contest.base, self.contest.measure)
        for name, one in kept.items():
            one["versions"] = self.versions.get(name, {})
        contest = self.contest
        return {
            "base": contest.base,
            "measure": contest.measure,
            "unit": "bytes" if contest.measure == "peak" else "seconds",
            "shown": contest.unit,
            "contestants": kept,
            "absent": self.absent,
            "goals": [said for goal in contest.goals if (said := goal.judge(kept, contest.unit))],
        }


def play(contest: Contest, players: dict[str, Player | Seat], clock: Callable[[], float] = time.monotonic) -> Outcome:
    """Let the players have their turns, round by round; one that dies is put out and the others go on."""
    absent: dict[str, str] = {}
    turns: dict[str, Values] = {}

    places = cores() if contest.together else [None]

    def each(names: Sequence[str], act: Callable[[Player | Seat, str], None]) -> None:
        for name in names:
            try:
                act(players[name], name)
            except Put_out as error:
                absent[name] = str(error)
                del players[name]

    each(list(players), lambda player, name: player.begin(contest.title, name))
    each(list(players), lambda player, name: player.wait_until_ready())
    began = clock()
    for number in range(contest.warm + contest.rounds):
        if number >= contest.warm + ENOUGH and clock() - began > contest.seconds:
            break
        counted = number - contest.warm
        active = [name for name in players if counted < (contest.of[name].rounds or contest.rounds)]
        first = number % len(active) if active else 0

        core = places[number % len(places)]

        def turn(player: Player | Seat, name: str, counted: int = counted, core: int | None = core) -> None:
            found = player.turn(core)
            if counted >= 0:
                turns.setdefault(name, {})[counted] = found

        each(active[first:] + active[:first], turn)
    each(list(players), lambda player, name: player.end())
    ordered = {name: turns[name] for name in contest.of if name in turns}
    versions = {name: player.versions for name, player in players.items()}
    return Outcome(contest, ordered, absent, versions)


class Field:
    """The processes of a script's contestants, for all contests: one for those who share, and one for each other name.

    The same function in two processes differs by up to a tenth for as long as they live (addresses, pages), and more
    where the system keeps each on a core of its own, one of which is slower. So ours share one process.
    """

    def __init__(self, script: str, peers: bool) -> None:
        self.script, self.peers = script, peers
        self._players: dict[tuple[object, ...], Player] = {}

    def __enter__(self) -> Field:
        return self

    def __exit__(self, *_: object) -> None:
        for player in self._players.values():
            player.close()

    def run(self, contest: Contest) -> Outcome:
        """One contest; those who cannot take part are named in `absent`."""
        players: dict[str, Player | Seat] = {}
        absent = {}
        for name, contestant in contest.of.items():
            python, why = python_for(contestant.modules, contestant.environment, self.peers)
            if python is None:
                absent[name] = why
            else:
                alone = contestant.modules or not contest.together
                player = self._player(name if alone else "", python, contest)
                players[name] = player if alone else Seat(player)
        outcome = play(contest, players)
        outcome.absent = absent | outcome.absent
        return outcome

    def _player(self, name: str, python: str, contest: Contest) -> Player:
        key = name, python, contest.threads, contest.freeze
        if key in self._players and not self._players[key].alive:
            self._players.pop(key).close()
        if key not in self._players:
            self._players[key] = Player([python, self.script, "--contestant"], contest.threads, contest.freeze)
        return self._players[key]


def show(outcome: Outcome) -> None:
    """Print the table, and who did not take part and why."""
    unit = outcome.contest.unit
    found = outcome.figures()
    print_table(outcome.contest.title, table_header(unit), rows(found["contestants"], unit), found)
    for name, why in outcome.absent.items():
        print(f"{name}: {why}")
    for goal in found["goals"]:
        print(f"goal of {goal['contestant']}: {goal['asked']}; seen {goal['seen']}: {goal['verdict'].strip('*')}")


def run(contests: Sequence[Contest], script: str, peers: bool = False) -> list[Outcome]:
    """All contests of a script, each printed when it is over."""
    outcomes = []
    with Field(script, peers) as field_:
        for contest in contests:
            outcomes.append(field_.run(contest))
            show(outcomes[-1])
            sys.stdout.flush()
    return outcomes


def main(contests: Sequence[Contest]) -> None:
    """Be the contestant whose turns are asked for, or run the contests; ends the process.

    It fails where one of ours died: a peer that does is named, and that is all.
    """
    parser = argparse.ArgumentParser(description=(sys.modules["__main__"].__doc__ or "").partition("\n")[0])
    parser.add_argument("--contestant", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--peers", action="store_true", help="the peers of other environments, too")
    parser.add_argument("--only", metavar="WORD", default="", help="only contests with this word in their title")
    options = parser.parse_args()
    if options.contestant:
        serve({contest.title: contest for contest in contests})
        sys.exit(0)
    chosen = [contest for contest in contests if options.only in contest.title]
    outcomes = run(chosen, sys.argv[0], options.peers or bool(os.environ.get(PEERS)))
    ours = [name for each in outcomes for name in each.absent if not each.contest.of[name].modules]
    sys.exit(1 if ours else 0)
