"""Writes video files for tests: ordinary ones, unusual ones and bad ones, all within milliseconds."""

import random
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from toolkit.toyworld.broken_media import corners, half, noise, sound, variable, write


def many(folder: Path, count: int, seed: int = 1, most_frames: int = 90) -> list[Path]:
    """Clips of all kinds of lengths, rates and shapes; every ninth plays at a variable rate, every tenth is turned."""
    rng, paths = random.Random(seed), []
    rates = [1, 2, 3, 4, 5, 7.5, 8, 10, 12, Fraction(24000, 1001), 24, 25, Fraction(30000, 1001), 30, 60]
    lengths = [n for n in (2, 3, 4, 5, 6, 7, 8, 9, 11, 16, 24, 32, 47, 60, 90) if n <= most_frames]
    sides = [2, 8, 16, 32, 40, 62, 64, 96, 128, 128, 160, 192, 200, 256, 320]
    for number in range(count):
        frames = rng.choice(lengths)
        ticks = np.cumsum([rng.randint(1, 60) for _ in range(frames)]).tolist() if number % 9 == 8 else None
        paths.append(
            write(
                folder / f"clip-{number:03}.mp4",
                frames=frames,
                fps=30 if ticks else rng.choice(rates),
                width=rng.choice(sides),
                height=rng.choice(sides),
                ticks=ticks,
                rotation=rng.choice([90, 180, 270]) if number % 10 == 9 else 0,
            )
        )
    return paths


def usable(folder: Path) -> dict[str, Path]:
    """Unusual clips that every reader understands, by name."""
    return {
        "constant rate": write(folder / "constant.mp4"),
        "variable rate": variable(folder / "variable.mp4"),
        "turned": write(folder / "turned.mp4", frames=8, width=128, draw=corners, rotation=90),
        "odd sides": write(folder / "odd.mp4", frames=8, width=63, height=41, pixels="yuv444p"),
        "1 × 2 pixels": write(folder / "speck.mov", frames=8, width=1, height=2, codec="png", pixels="rgb24"),
        "header in front": write(folder / "front.mp4", faststart=True),
        "an mp4 named png": Path(shutil.copy(folder / "constant.mp4", folder / "clip.png")),
    }


def bad(folder: Path) -> dict[str, Path]:
    """Files that are no videos, or damaged ones, by name."""
    whole = write(folder / "whole.mp4", frames=60, fps=10, draw=noise)
    front = write(folder / "whole-front.mp4", frames=60, fps=10, draw=noise, faststart=True)
    text = folder / "text.mp4"
    text.write_text("no video\n")
    empty = folder / "empty.mp4"
    empty.touch()
    return {
        "cut off": half(folder / "cut.mp4", whole),
        "cut off, header in front": half(folder / "cut-front.mp4", front),
        "no frames": write(folder / "none.mp4", frames=0),
        "sound only": sound(folder / "sound.mp4"),
        "text": text,
        "0 bytes": empty,
    }


def picture(path: Path) -> Path:
    """A PNG, whatever the name ends in."""
    Image.new("RGB", (64, 48), "red").save(path, "PNG")
    return path
