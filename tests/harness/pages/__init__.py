"""Pages that run: every fenced block of a page is a file, a command, or a fragment to check.

`python -m harness.pages docs/first-steps.md`, in tests/, runs one page and prints what each block
did. The convention for writers is in tests/docs/README.md.
"""
