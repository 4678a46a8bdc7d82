"""The PROXY protocol, versions 1 and 2: what a load balancer says about the client in front of the client's own octets."""
