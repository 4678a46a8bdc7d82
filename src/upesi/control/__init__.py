"""The Unix socket between supervisor, workers and the command line: peer credentials checked, versioned frames.

`server` and `client` are the two ends of the socket that people use, `channel` is the pair between supervisor and worker, `hints` the
datagrams between workers.
"""
