"""Previews: any AutoencoderTiny in the autoencoder's place."""

from pathlib import Path

import pytest
from diffusers import AutoencoderTiny

import emoscene
import tiny
from emoscene.core.errors import EmosceneError, UsageError


def decoder(folder: Path, **changed: object) -> Path:
    small = {"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4}
    few = {"num_encoder_blocks": (1,) * 4, "num_decoder_blocks": (1,) * 4}
    AutoencoderTiny(**small | few | changed).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.make(tmp_path_factory.mktemp("base")))


def test_a_tiny_decoder_shows_every_step(base: str, tmp_path: Path) -> None:
    pipe = emoscene.load(base, tiny=decoder(tmp_path / "tiny"))
    rows = pipe.plan("a dog", num_inference_steps=3, num_images_per_prompt=2)
    shown = [pipe.preview(x) for x in pipe.denoise(rows)]
    assert [len(images) for images in shown] == [2, 2, 2]
    assert {image.size for images in shown for image in images} == {rows[0].size}
    *_, x = pipe.denoise(rows)
    plain = emoscene.load(base)
    assert (
        plain.preview(x)[0].tobytes()
        == plain("a dog", num_inference_steps=3, num_images_per_prompt=2).images[0].tobytes()
    )
    assert plain.preview(x)[0].tobytes() != shown[-1][0].tobytes()


def test_what_is_no_tiny_decoder_is_refused(base: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no tiny decoder in"):
        emoscene.load(base, tiny=tmp_path)
    with pytest.raises(UsageError, match="reads other latents"):
        emoscene.load(base, tiny=decoder(tmp_path / "other", latent_channels=8))
    folder = decoder(tmp_path / "damaged")
    file = folder / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(EmosceneError, match="is damaged or incomplete"):
        emoscene.load(base, tiny=folder)
