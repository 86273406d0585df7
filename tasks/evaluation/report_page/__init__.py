"""The evaluation's report as one HTML page that needs nothing but itself."""
