"""For tools that look for this file; the package, its requirements and its extras stand in pyproject.toml."""

from setuptools import setup

setup()
