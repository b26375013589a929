"""Trained models for other programs."""

from sadm.training.deployment.onnx_files import ONNX_TOLERANCES, export_onnx

__all__ = ["ONNX_TOLERANCES", "export_onnx"]
