"""A Stable Diffusion, read from the disk and reduced to what a method needs of it.

    hub           models of the Hugging Face hub             base_spec      where a base comes from and what suits it
    weight_files  which files hold a part's weights          architecture   headers and configs, which tell what it is
    families/     what a checkpoint is made of, by family    compatibility  checks before loading
    loading       a folder or a single file becomes parts    clip_tokenizer CLIP's, for a file that has none
    digests       a base is known by its weights             model          `DiffusionModel`: encode, predict, decode
    loras         LoRAs of other programs                    device         where it computes, and memory that runs out
    device_choice which device and precision it takes
    transfer      numbers go to the device, and nobody waits
    decoding      latents become images that are finite      preview        a tiny decoder
    bases/        the bases by name

The next room, `learning`, trains what is attached to a `DiffusionModel`.
"""
