"""The operators of an edit, one file each: their numbers, what they do to a picture of any size, their JSON, their exports."""
