"""Studies: the claims of the papers checked by many small trainings, each the project's own with other params."""
