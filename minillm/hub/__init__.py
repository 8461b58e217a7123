"""Files of other programs: read into what minillm has, and written from it."""
