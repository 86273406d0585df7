"""Asking people: pictures, turns, votes, scores."""
