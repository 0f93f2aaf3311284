"""The HTML report, its charts and thumbnails."""
