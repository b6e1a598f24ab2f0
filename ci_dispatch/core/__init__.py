"""The pure base: values, events, decisions. No I/O, no clock, no environment, no third-party library."""
