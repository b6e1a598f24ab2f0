"""Any number of reports become one: which tests are the same, what they came to, the merged file."""
