"""Two runs at one address: the second is refused while the first gives signs of life, and not after its end."""

from __future__ import annotations

import json
import socket
import time

import pytest
from seg_runner.remote.address import RemoteError, Store
from seg_runner.remote.claim import Claim

pytest.importorskip("fsspec")


@pytest.fixture
def store(request):
    return Store(f"memory://claims/{request.node.name}")


def claim_of(store, beat=0.1):
    return Claim(Store(store.address), beat)


def test_a_run_that_lives_is_not_disturbed(store):
    first, second = claim_of(store), claim_of(store)
    first.take()
    with pytest.raises(RuntimeError, match=r"another run is training in memory://claims/.*\(process \d+ on "):
        second.take()
    first.check()
    first.release()
    second.take()
    second.release()
    assert store.entries() == {}


def test_one_that_gives_no_sign_is_taken_over_and_told_so(store):
    store.write(".running", b'{"token": "other", "host": "far", "process": 7, "beat": 0.1}')
    first = claim_of(store)
    first.take()
    store.write(".running", b'{"token": "third", "host": "far", "process": 8, "beat": 0.1}')
    while not first.taken:
        time.sleep(0.01)
    with pytest.raises(RemoteError, match=r"another run \(process 8 on far\) has taken"):
        first.check()
    first.release()
    assert json.loads(store.read(".running"))["token"] == "third"


def test_a_dead_process_of_this_machine_is_not_waited_for(store):
    dead = {"token": "x", "host": socket.gethostname(), "process": 2**22 + 1, "beat": 60.0}
    store.write(".running", json.dumps(dead).encode())
    claim = claim_of(store)
    claim.take()
    claim.release()


def test_leaving_leaves_nothing(store):
    claim = claim_of(store)
    claim.take()
    claim.take()
    claim.release()
    claim.release()
    assert store.entries() == {}


def test_what_cannot_be_read_is_no_claim(store):
    store.write(".running", b"\xff{")
    claim = claim_of(store)
    claim.take()
    claim.release()
