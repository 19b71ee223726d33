"""Cut aligned faces out of folders of photos for training: crops, index.csv, report.json, contact_sheet.jpg."""

from __future__ import annotations

import sys

from utils.command import carried_out
from utils.preprocess.config import parse


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""

    def work() -> None:
        config = parse(argv)
        from utils.preprocess.run import run

        summary = run(config)
        if config.quiet:
            return
        print(f"{summary.kept} of {summary.photos} photos kept in {config.save_path}")
        for reason, count in summary.refused.items():
            print(f"  {count} refused: {reason}")
        print(f"this run: {summary.worked} photos, {summary.seconds:.1f} s, {summary.rate:.1f} per second")

    return carried_out(work, "interrupted; the same command goes on from here")


if __name__ == "__main__":
    sys.exit(main())
