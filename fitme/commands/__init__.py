"""Commands of the command line, one module each. Heavy imports wait until a command runs."""
