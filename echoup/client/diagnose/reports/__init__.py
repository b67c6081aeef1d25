"""The reports of a diagnosis."""
