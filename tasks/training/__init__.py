"""Training the harmonizer: its schedules, its batches and what is done to them, the three phases of a step, validation."""
