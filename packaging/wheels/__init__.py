"""Builds wheels of Lockgate for other machines than this one, and checks them: docs/wheels.md."""
