"""What stage `evaluate` is made of: who is measured, on what, by which numbers, and the report."""
