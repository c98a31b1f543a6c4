"""Installs each wheel as a new user does: in an empty root, without a network."""
