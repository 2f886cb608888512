"""Packages live in two folders, maskkit and modalities; the second is installed as maskkit.modalities."""

from setuptools import find_packages, setup

packages = find_packages(include=["maskkit*"]) + ["maskkit." + name for name in find_packages(include=["modalities*"])]
setup(packages=packages, package_dir={"maskkit.modalities": "modalities"}, package_data={"maskkit": ["py.typed"]})
