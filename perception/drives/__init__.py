"""Recorded drives as a whole: told of, converted, cut, and shown on a sheet."""
