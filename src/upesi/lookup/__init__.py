"""Tables behind one interface (key to values), and the sources of credentials that are made of them or ask others."""
