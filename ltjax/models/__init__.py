"""Flax Linen networks, created by name, and their PyTorch weights in and out."""

from ltjax.models.registry import MODELS, create
from ltjax.models.torch_weights import from_torch, to_torch

__all__ = ["MODELS", "create", "from_torch", "to_torch"]
