"""Cut aligned faces out of folders of photos for training: crops, index.csv, report.json, contact_sheet.jpg."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from utils.command import carried_out
from utils.preprocess.config import PreprocessConfig, parse

if TYPE_CHECKING:
    from utils.preprocess.report import Summary  # which loads OpenCV


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""

    def work() -> None:
        config = parse(argv)
        from utils.preprocess.report import check_kept
        from utils.preprocess.run import run

        summary = run(config)
        if not config.quiet:
            say(config, summary)
        check_kept(config, summary)

    return carried_out(work, "interrupted; the same command goes on from here")


def say(config: PreprocessConfig, summary: Summary) -> None:
    """Print what a run gave."""
    print(f"{summary.kept} of {summary.photos} photos kept in {config.save_path}")
    for reason, count in summary.refused.items():
        print(f"  {count} refused: {reason}")
    print(f"this run: {summary.worked} photos, {summary.seconds:.1f} s, {summary.rate:.1f} per second")


if __name__ == "__main__":
    sys.exit(main())
