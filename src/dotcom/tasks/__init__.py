"""LightningModules: what a batch is, what the loss is, what is measured."""

from dotcom.tasks.classification import Classification

__all__ = ["Classification"]
