"""Finds out what an unknown spike recording is: ranks possible geometries and draws pictures of them."""
