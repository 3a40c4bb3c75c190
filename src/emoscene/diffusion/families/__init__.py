"""Families of checkpoints: what a diffusion model is made of, and how it is read, checked and asked for text.

    base   the contract, `find_family`, and the names of families that are not read
    sd1    Stable Diffusion 1: one CLIP text encoder, a UNet of four latent channels
    sd2    Stable Diffusion 2: OpenCLIP's text encoder, v-prediction
    sdxl   Stable Diffusion XL: both, a vector of the whole prompt, a size

A family is one file with one final subclass of `Family`; another package adds one by an entry point of the group
`emoscene.families`. A checkpoint's family is told by its configs and its file's header, and never by its name.
"""
