"""What an engine does with requests: blocks of its cache, and seats in its batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from helpers.drawings import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EMPTY = "#eceff1"


def paged_kv_cache(block_size: int = 4) -> Figure:
    """Two requests, their logical blocks, and where these lie in the shared KV cache."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), width_ratios=(3, 2))
    requests = {"A": (COLOURS[0], 10, (1, 6, 2)), "B": (COLOURS[1], 7, (4, 0))}
    for row, (name, (colour, tokens, _)) in enumerate(requests.items()):
        y = -row * 1.8
        for block in range(-(-tokens // block_size)):
            x, used = block * (block_size + 0.6), min(block_size, tokens - block * block_size)
            for slot in range(block_size):
                left.add_patch(plt.Rectangle((x + slot, y), 0.92, 0.92, color=colour if slot < used else EMPTY))
            left.text(x + block_size / 2, y + 1.08, f"block {name}{block}", ha="center", fontsize=8)
        left.text(-0.5, y + 0.45, f"request {name}", ha="right", va="center")
    left.set(xlim=(-4.2, 14.5), ylim=(-2.3, 1.9), title="what each request sees: a sequence of tokens")
    owners = {
        place: (f"{name}{block}", colour)
        for name, (colour, _, places) in requests.items()
        for block, place in enumerate(places)
    }
    for place in range(8):
        x, y = place % 4, -(place // 4) * 1.3
        label, colour = owners.get(place, ("free", EMPTY))
        right.add_patch(plt.Rectangle((x, y), 0.9, 0.9, color=colour))
        right.text(x + 0.45, y + 0.45, label, ha="center", va="center", color="white" if place in owners else "#455a64")
        right.text(x + 0.45, y - 0.16, str(place), ha="center", va="center", fontsize=7, color="#455a64")
    right.set(xlim=(-0.2, 4.1), ylim=(-1.7, 1.3), title="what memory holds: blocks, in any order")
    for axes in (left, right):
        axes.axis("off")
    figure.tight_layout()
    return figure


def continuous_batching() -> Figure:
    """Static against continuous batching: four requests of unequal length on two seats."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 2.2), sharey=True, sharex=True)
    plans = {
        "static batch: a short answer waits for a long one": [(0, 0, 3), (1, 0, 8), (0, 8, 5), (1, 8, 2)],
        "continuous batching: a free seat is taken at once": [(0, 0, 3), (1, 0, 8), (0, 3, 5), (1, 8, 2)],
    }
    for panel, (title, plan) in zip(axes, plans.items(), strict=True):
        for number, (seat, start, steps) in enumerate(plan):
            panel.barh(seat, steps, left=start, height=0.62, color=COLOURS[number])
            panel.text(start + steps / 2, seat, "ABCD"[number], ha="center", va="center", color="white")
        end = max(start + steps for _, start, steps in plan)
        panel.axvline(end, color="#455a64", linewidth=1, linestyle=":")
        panel.text(end + 0.2, 0.5, f"{end} steps", va="center", fontsize=8)
        panel.set_title(title, fontsize=10)
        panel.set(xlabel="decoding step", yticks=(0, 1), yticklabels=("seat 1", "seat 2"), xlim=(0, 14.5))
        panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return figure
