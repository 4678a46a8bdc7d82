"""The vocabulary of mail: values without I/O, clock or chance, that every other room speaks in."""
