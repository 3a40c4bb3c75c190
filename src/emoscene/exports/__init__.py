"""The verb `export`: an artifact as files that other programs load, with a model card.

artifact      what is in an artifact, and the bundle that is written
diffusers     plain diffusers                kohya      kohya's scripts, ComfyUI and AUTOMATIC1111
card          the model card and its gallery
export        the verb, and the upload to a hub
"""
