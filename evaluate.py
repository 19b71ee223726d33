"""Measure a generator on photos: identity, pose, expression, gaze, self-swap, background, flicker."""

from __future__ import annotations

import logging
import sys

from utils.command import carried_out
from utils.evaluation.config import parse


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""

    def work() -> None:
        config = parse(argv)
        logging.basicConfig(level=logging.ERROR if config.quiet else logging.WARNING, format="%(message)s")
        from utils.device import full_memory_as_error
        from utils.evaluation.session import Session

        with full_memory_as_error("close other programs, or use --device cpu"):
            metrics = Session(config).run()
        if not config.quiet:
            from utils.evaluation.report import markdown

            print(markdown(metrics))
            print(f"written to {config.out} in {metrics['seconds']} s")

    return carried_out(work, "interrupted; the report was not completed")


if __name__ == "__main__":
    sys.exit(main())
