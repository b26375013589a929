"""Several domains within one budget: prepare, a small comparison each, and where structure guidance pays."""
