"""The command line: a line in, one call of the verb's function of the same name, a path out.

verbs         the verbs, read from their functions: words, options, what must be given
options       ranges, choices, and how an option's value is read
calls         a line as a call: arguments, settings and recipes
app           the typer app: parsing, help, shell completion
help          `ls` and `show`
doctor        what this machine has
main          the entry point: exit statuses, messages on stderr, results on stdout
"""
