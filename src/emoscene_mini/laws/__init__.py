"""Seven published findings about the control of diffusion models, measured on the miniature: `make laws`.

    law            what a law is: a sentence, a source, and findings with a threshold
    guidance       three laws of guidance: recall for precision, the fooled guide, clipped pixels
    words          learned words that grow too long
    timing         what is decided early and what later
    sources        a judge that learned from one source of images
    mixing         mixed predictions against mixed weights
    trajectories   the sampler in steps, for the laws that change something on the way
    page           the page of `docs/` that the command writes

Thresholds and seeds stand in the code and were committed before the laws were measured. A law that fails is told as
failed.
"""
