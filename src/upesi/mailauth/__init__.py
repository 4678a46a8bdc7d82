"""SPF, DKIM, DMARC, ARC, iprev and Authentication-Results: pure. They ask for what DNS says, and never fetch it."""
