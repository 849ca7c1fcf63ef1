"""Reading back what offline runs of W&B wrote."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def chunks(data: bytes) -> Iterator[bytes]:
    """Payloads of a log in LevelDB's format: blocks of 32 KiB, records with checksum, length and type."""
    position, parts = 7, []
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        parts.append(data[position + 7 : position + 7 + length])
        position += 7 + length
        if kind in (1, 4):
            yield b"".join(parts)
            parts = []


def records(folder: Path) -> list[Any]:
    """What offline runs wrote, in order; W&B's own process has it all on disk once it has ended."""
    import wandb
    from wandb.proto import wandb_internal_pb2

    wandb.teardown()
    found = []
    for file in sorted(folder.rglob("run-*.wandb")):
        for payload in chunks(file.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(payload)
            found.append(record)
    return found


def history(folder: Path) -> list[dict[str, Any]]:
    """Rows of the run, by name."""
    rows = []
    for record in records(folder):
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            rows.append({i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items})
    return [{k: v for k, v in row.items() if not k.startswith("_")} for row in rows]
