"""Networks that are trained here: few plain operators, which every engine runs in INT8.

`blocks.py` has the bricks, each further file one kind of network. Imports torch, and nothing of the trainer.
"""
