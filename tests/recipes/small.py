"""A recipe that does not begin with base.get_config()."""

from ml_collections import ConfigDict


def get_config():
    return ConfigDict({"name": "small", "data": {"name": "digits"}})
