"""The command line: a file a verb, each parse, one call of the api, render."""
