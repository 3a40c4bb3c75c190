"""What a thing that trains is, and what any training needs: the contract, checkpoints, optimizers, precision.

    learner       `Learner`: a module whose forward is its loss, with what it reads and what it saves
    checkpoints   folders `step-N`, complete or not there
    optimizers    AdamW or another, its schedule, and Muon beside it
    precision     device and arithmetic of training, waits for a GPU, peak memory

Methods and encoders are learners; `training` runs them.
"""
