"""What people touch: the command line and the pages. They call tasks/ and models/; of flows/ only `flows.registry`, imported late."""
