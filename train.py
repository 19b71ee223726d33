"""Train the generator, or one of the small networks beside it: `python train.py --help`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from utils.command import carried_out
from utils.memory import keep_freed_memory
from utils.training.config import TrainConfig, parse


def run(config: TrainConfig) -> int:
    """Build the task that the options name and train; returns the exit code."""
    from utils.device import full_memory_as_error
    from utils.training.distributed import process_group  # PyTorch and all: --help must not wait for it
    from utils.training.loop import Training
    from utils.training.setup import build_task, rehearse

    remedy = (f"it does not suffice for --batch_size {config.batch_size}: give a smaller one, with --accumulate to "
              "keep the number of pairs a step, or close other programs that use it")
    with process_group(config.device) as device, full_memory_as_error(remedy):
        if device.type == "cpu":
            keep_freed_memory()
        task = build_task(config, device)
        training = Training(config, task, device)
        return rehearse(config, task) if config.dry_run else training.run()


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, check, build, run; returns the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    interrupted = ["interrupted"]

    def work() -> int:
        config = parse(sys.argv[1:] if argv is None else argv)
        if not config.dry_run:
            interrupted.append("--resume auto goes on from the last checkpoint, if one was saved")
        logging.getLogger("ghost").setLevel(logging.ERROR if config.quiet else logging.INFO)
        return run(config)

    return carried_out(work, lambda stop: "; ".join(interrupted))


if __name__ == "__main__":
    sys.exit(main())
