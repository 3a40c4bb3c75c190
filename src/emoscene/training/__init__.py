"""One loop for all that learns, and the verb `train`.

dataloader    batches read ahead, and their noise drawn, by threads
loop          the loop: a generator of steps, its state, its settings
callbacks     validation, sheets of images, trackers, early stopping
cautions      what makes a run's result worth little, a sentence each
launcher      what `accelerate launch` asks for, honoured or refused
dry_run       what a run will take, by a few real steps
train         the verb: base, data and settings become an artifact
"""
