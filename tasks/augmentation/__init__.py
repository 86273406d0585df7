"""SycoNet at work: its training, what its draws are worth, and which of them are kept."""
