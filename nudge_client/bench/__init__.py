"""Comparisons: nudging beside the models alone and the paper's other ways to join two models."""
