"""The soak: a mixed load whose every byte is checked, with deploys, signals and kills.

`python -m soak --help`, or `make soak SOAK_SECONDS=3600`.
"""
