"""The verb `export`: an artifact as files that other programs load, with a model card.

artifact      what is in an artifact, and the bundle that is written
formats       a file a format: diffusers, kohya, a1111
lora_files    the LoRA and the embeddings that kohya's scripts, ComfyUI and AUTOMATIC1111 load
card          the model card and its gallery
export        the verb, and the upload to a hub
"""
