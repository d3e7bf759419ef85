# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What a ``with fleet()`` block tells of itself."""

from dataclasses import dataclass, field

from sk_tune._text import seconds_text, text_table

__all__ = ["FleetReport"]


@dataclass(slots=True, kw_only=True)
class FleetReport:
    """What happened in a ``with fleet()`` block.

    Parameters
    ----------
    n_requested : int
        Trainings that networks asked for while tasks were recorded.
    n_rows : int
        Of these, trained as rows of fleets.
    n_calls : int
        Calls of the engine; each trains all that was asked for by then.
    n_fleets : int
        Kinds of networks among the rows of each call, summed up; rows of one kind train as
        one tensor program, which is cut into shards for several workers.
    n_continued : int
        Of these, those that went on from a shorter training of the same fit.
    n_loaded : int
        Of these, those that the store had.
    n_adopted : int
        Networks that took over a training.
    n_trained_again : int
        Networks that trained as usual, because nothing recorded matched.
    n_drawn_otherwise : int
        Plain skorch nets that drew other numbers from torch's global generator than they
        would draw without the block, because the numbers before theirs were not foreseen.
    solo : dict of str to int
        Why networks were trained alone, and how many: by the engine those that it can, else
        by themselves.
    seconds_recording, seconds_training, seconds_replaying : float
        Wall-clock time.
    """

    n_requested: int = 0
    n_rows: int = 0
    n_calls: int = 0
    n_fleets: int = 0
    n_continued: int = 0
    n_loaded: int = 0
    n_adopted: int = 0
    n_trained_again: int = 0
    n_drawn_otherwise: int = 0
    solo: dict[str, int] = field(default_factory=dict)
    seconds_recording: float = 0.0
    seconds_training: float = 0.0
    seconds_replaying: float = 0.0

    def __str__(self) -> str:
        counts = [
            ["asked for", self.n_requested],
            ["in fleets", self.n_rows],
            ["kinds of fleets", self.n_fleets],
            ["gone on from a shorter one", self.n_continued],
            ["of an earlier run", self.n_loaded],
            ["one at a time", sum(self.solo.values())],
            ["taken over by networks", self.n_adopted],
            ["not found, so trained as usual", self.n_trained_again],
            ["with other random numbers", self.n_drawn_otherwise],
        ]
        names = ("recording", "training", "replaying")
        spent = (f"{n} {seconds_text(getattr(self, f'seconds_{n}'))}" for n in names)
        reasons = [f"{n} one at a time: {why}" for why, n in self.solo.items()]
        table = text_table(["trainings", "count"], counts)
        return "\n".join([table, ", ".join(spent), *reasons])
