"""Reads the JUnit files of any number of shards and attempts and gives one truthful report; stands alone."""
