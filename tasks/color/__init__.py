"""What colours are: differences as eyes see them, transfers from one foreground to another, changes of light and tone."""
