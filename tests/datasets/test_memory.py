from __future__ import annotations

from pathlib import Path

from mailsync.datasets.memory import MemoryDataset
from tests.datasets.conformance import Conformance, Stage


class TestMemory(Conformance):
    def build(self, directory: Path) -> Stage:
        dataset = MemoryDataset(
            refuses=lambda _key, wanted: "no" if wanted and "unfit" in wanted else ""
        )
        return Stage(
            dataset,
            sample=lambda number, version: {"number": number, "version": version, "note": None},
            put=dataset.rows.__setitem__,
            remove=dataset.rows.__delitem__,
            touch=lambda key: dataset.rows.__setitem__(key, dict(dataset.rows[key])),
            unfit=lambda fields: {**fields, "unfit": 1},
            spoil=lambda key: dataset.unreadable.__setitem__(key, "spoilt"),
        )
