"""Stores that keep sessions on the server."""
