"""Baselines: what `evaluate --method NAME` scores beside methods, made from images of the base alone.

A file a baseline, found by its name as every plug-in; `base.py` is the contract. They learn nothing of diffusion. A
method that is no better has found a shortcut.
"""
