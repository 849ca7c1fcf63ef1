"""Two runs at one address: the second is refused while the first gives signs of life, and not after its end."""

from __future__ import annotations

import json
import threading
import time

import pytest
from seg_runner.remote.address import RemoteError, Store
from seg_runner.remote.claim import Claim

pytest.importorskip("fsspec")


@pytest.fixture
def store(request):
    return Store(f"memory://claims/{request.node.name}")


def test_a_run_that_lives_is_not_disturbed(store):
    first, second = Claim(store, 0.2), Claim(store, 0.2)
    first.take()
    ended = threading.Event()

    def live():
        while not ended.wait(0.02):
            first.keep()

    thread = threading.Thread(target=live)
    thread.start()
    try:
        with pytest.raises(RuntimeError, match=r"another run is training in memory://claims/.*\(process \d+ on "):
            second.take()
    finally:
        ended.set()
        thread.join()
    assert not second.held


def test_one_that_gives_no_sign_is_taken_over_and_told_so(store):
    first, second = Claim(store, 0.1), Claim(store, 0.1)
    first.take()
    second.take()
    time.sleep(0.1)
    with pytest.raises(RemoteError, match=r"another run .* has taken"):
        first.keep()


def test_a_dead_process_of_this_machine_is_not_waited_for(store):
    first = Claim(store, 60.0)
    first.take()
    found = json.loads(store.read(".running"))
    store.write(".running", json.dumps(found | {"process": 2**22 + 1, "token": "x"}).encode())
    begin = time.monotonic()
    Claim(store).take()
    assert time.monotonic() - begin < 60


def test_leaving_leaves_nothing(store):
    claim = Claim(store)
    claim.take()
    claim.release()
    assert store.entries() == {}


def test_what_cannot_be_read_is_no_claim(store):
    store.write(".running", b"\xff{")
    Claim(store).take()
