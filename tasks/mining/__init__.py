"""What stage `mine` is made of: objects analysed, paired, placed, pasted and judged."""
