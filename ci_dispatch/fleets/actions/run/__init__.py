"""One dispatched run, followed to its end. Pure."""
