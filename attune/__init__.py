"""The tool: photographers' files, the edit and its rendering at full resolution, the command line. It needs nothing of the workshop."""
