"""Authentication of clients (RFC 4422, RFC 4954): mechanisms as pure state machines, over sources of credentials that are passed in."""
