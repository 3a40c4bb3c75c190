"""The verb `tune`: settings are searched with Optuna by training and generating, and judges have the last word.

objective     what all trials of a call share, and how one is done
selector      the encoder that picks, which may judge nothing
studies       a study that any number of workers share
final         the judges compare the winner with the default
tune          the verb
"""
