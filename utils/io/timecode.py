"""Time codes, by which editing programs find the original of a part; source: SMPTE ST 12-1."""

from __future__ import annotations

import math
import re
from fractions import Fraction


def advanced(timecode: str, frames: int, rate: Fraction) -> str | None:
    """The time code of a later frame; None for what is no time code.

    A semicolon before the frames stands for drop-frame counting, which leaves out numbers (2 at 29.97 frames per
    second) at the beginning of each minute but every tenth, and means nothing at other rates.
    """
    found = re.fullmatch(r"(\d+):(\d\d):(\d\d)([:;.])(\d\d+)", timecode)
    base = math.floor(rate + Fraction(1, 2))
    if not found or base < 1:
        return None
    hours, minutes, seconds, number = (int(found[i]) for i in (1, 2, 3, 5))
    drops = found[4] != ":" and base % 30 == 0
    left_out = base // 15 if drops else 0
    minutes += 60 * hours
    per_ten = 600 * base - 9 * left_out
    count = (60 * minutes + seconds) * base + number - left_out * (minutes - minutes // 10) + frames
    tens, rest = divmod(count % (144 * per_ten), per_ten)  # of minutes; a day has 144
    count = 600 * base * tens + rest + left_out * max(0, (rest - left_out) // (60 * base - left_out))
    seconds, number = divmod(count, base)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{found[4] if drops else ':'}{number:02d}"
