"""Maths on tensors: torch only; no files, no logging, no global state."""
