"""Networks made from labelled drives: datasets mixed, trained on, and what comes of it exported as bundles.

The only room that imports torch. It may import all of `engines`; nothing at run time imports it, commands do so
inside their functions. `datasets/` knows no torch either: a mixture is numpy, whoever trains on it.
"""
