"""One file a verb, thin: parse, call, print. `app.py` lists them.

Everything heavy is imported inside the functions, so that `--help` answers at once.
"""
