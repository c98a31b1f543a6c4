"""`lockgate convert`: makes lockgate.toml from the configuration of another server, and a report.

Invariant: each key of the source has exactly one entry in the report.
"""
