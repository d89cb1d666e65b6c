"""`python -m tests.hostile`: try the corpus, print how much of it is refused; 1 when anything gets through."""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

from tests.hostile import archives, batches, checkpoints, images
from tests.hostile.trial import try_archive, try_checkpoint, try_image


def main() -> int:
    warnings.simplefilter("ignore")
    failed: list[str] = []
    counts: dict[str, list[int]] = {"archives": [0, 0], "images": [0, 0], "batches": [0, 0], "checkpoints": [0, 0]}

    def note(kind: str, name: str, refused: bool) -> None:
        counts[kind][0] += 1
        counts[kind][1] += refused
        if not refused:
            failed.append(f"{kind}: {name}")

    for name, (content, code) in archives.refused().items():
        note("archives", name, code in try_archive(content))
    for name, (content, code) in images.refused().items():
        note("images", name, try_image(content) == code)
    with tempfile.TemporaryDirectory() as folder:
        canary = Path(folder) / "canary"
        for name, content in batches.corpus(canary).items():
            note("batches", name, try_archive(content) == {"archive_damaged"} and not canary.exists())
        for name, content in checkpoints.corpus(canary).items():
            note("checkpoints", name, try_checkpoint(content, Path(folder)) and not canary.exists())
    for kind, (tried, refused) in counts.items():
        sys.stdout.write(f"{kind:12} {tried:4} tried {refused:4} refused\n")
    harmless = {name: try_archive(content) for name, content in archives.harmless().items()}
    sys.stdout.write(f"odd archives {len(harmless):4} tried {sum(not codes for codes in harmless.values()):4} taken\n")
    failed += [f"odd archive: {name} {codes}" for name, codes in harmless.items() if codes]
    for line in failed:
        sys.stdout.write(f"NOT AS IT SHOULD BE: {line}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
