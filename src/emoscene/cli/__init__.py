"""The command line: words in, one call of the verb of the same name, a path out.

options       the verbs, their options, and how a line is read
help          help pages, `ls` and `show`
doctor        what this machine has
main          the entry point: exit statuses, messages on stderr, results on stdout
"""
