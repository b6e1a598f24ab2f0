"""Configuration: TOML text, environment and options in, a frozen `Config` out. No I/O, no clock, no global state."""

from ci_dispatch.config.load import Loaded, load, resolve
from ci_dispatch.config.reading import Origin, ValueSource
from ci_dispatch.config.sections import Config

__all__ = ["Config", "Loaded", "Origin", "ValueSource", "load", "resolve"]
