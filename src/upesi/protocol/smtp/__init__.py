"""SMTP and LMTP (RFC 5321, 2033), server and client side, as state machines."""
