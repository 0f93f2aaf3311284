"""``python -m benchmarks``."""

from benchmarks.cli import app

if __name__ == "__main__":  # contenders' processes import this module, too
    app()
