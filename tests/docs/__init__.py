"""Tests of the documents: README, SECURITY, CONTRIBUTING and docs/ say what is so."""
