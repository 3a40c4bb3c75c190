"""What an emotion does to a base: before the UNet (`condition`), inside it (`attach`) and after it (`apply_guidance`).

    base          the contract, and `MethodChain`: `a+b` is one method after the other
    none prompt   the base alone; the emotion written into the words
    inversion lora guidance multimodal   what is trained
    lexicons/     words for each emotion

One file is one method. `pipeline` puts them on a base, `training` trains them.
"""
