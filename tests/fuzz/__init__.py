"""Octets from strangers against everything that reads them. See README.md in this folder."""
