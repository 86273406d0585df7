"""An edit at full resolution, on the files that people have."""
