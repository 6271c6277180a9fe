"""For tools that call `setup.py`; everything it says is in pyproject.toml."""

from setuptools import setup

setup()
