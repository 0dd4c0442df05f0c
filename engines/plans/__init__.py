"""Plans: what TensorRT or TensorRT for RTX makes of a bundle for one kind of GPU, with a passport and a layer report.

TensorRT is never imported before it is asked for, and nothing here is needed to run on a CPU.
"""
