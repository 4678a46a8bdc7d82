"""Duels against other mail servers, side by side on one machine: `make bench`, `python -m bench --help`.

A figure counts only as a ratio taken in one run: machines are shared and noisy. So peers take turns (A B A B), each run is
as long in seconds as the others, comes after a warm-up, and the median of at least three is what is written down.
"""
