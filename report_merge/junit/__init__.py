"""JUnit XML of any dialect: the only reader, and the writer."""
