"""Peers of the TDGL Euler loop, a small file each.

All integrate the discretisation of gl15 (PyTDGL excepted, which has its own) and have
one interface, `Peer`; a file offers `peers(problem, ...)`, which raises `Missing` with
the reason where a package or a compiler is not there.
"""
