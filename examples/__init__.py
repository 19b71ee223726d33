"""Demos on pictures of synthetic people."""
