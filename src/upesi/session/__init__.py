"""One client's conversation: check -> hooks -> proceed; one module per verb."""
