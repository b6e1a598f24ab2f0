"""Who gets which tests and for how long: pure functions over units and machines."""
