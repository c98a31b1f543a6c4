"""Builds the images of a Dockerfile and starts their containers, without a daemon and a registry.

Base images are replaced by roots of Debian packages (`bases`).
"""
