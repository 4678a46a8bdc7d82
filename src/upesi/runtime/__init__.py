"""Supervisor and worker: processes, signals, file descriptors; the only place where objects are wired."""
