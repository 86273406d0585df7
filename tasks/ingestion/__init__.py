"""What stage `ingest` is made of: samples checked, told apart, split, and composites synthesized."""
