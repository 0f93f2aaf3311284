"""Builds and trains the tiny model: the real Qwen3-VL architecture at about 5 million parameters, on the toy world."""
