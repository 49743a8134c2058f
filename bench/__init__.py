"""Measures ValueLoop beside the floors of the machine it runs on. `make bench`; never part of the tests."""
