"""The mask decoder against its formula, written out pixel by pixel."""

import torch
from torch import Tensor
from torch.nn import functional as F

from common.networks.medvlm.mask_decoder import MaskDecoder

WIDTH, GRID = 8, (2, 3)


def products(vector: Tensor, feature_map: Tensor) -> Tensor:
    """(C) and (C, h, w) -> (h, w): the dot product at every pixel."""
    result = torch.empty(feature_map.shape[1:])
    for y in range(result.shape[0]):
        for x in range(result.shape[1]):
            result[y, x] = sum(vector[c] * feature_map[c, y, x] for c in range(len(vector)))
    return result


def enlarged(logits: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(logits[None, None], size, mode="bilinear", align_corners=False)[0, 0]


@torch.no_grad()
def test_logits_are_products_of_a_vector_for_every_map_added_from_coarse_to_fine() -> None:
    """Four prompts on two images: rows 0 and 1 read the maps of image 0, rows 2 and 3 those of image 1."""
    torch.manual_seed(0)
    decoder = MaskDecoder(WIDTH, heads=2, channels=(), skip_channels=(6, 3)).eval()
    text, text_start = torch.randn(2, 4, 5, WIDTH)
    image, positions = torch.randn(4, 6, WIDTH), torch.randn(6, WIDTH)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 0, 0]]).bool()
    skips = [torch.randn(2, 6, 4, 6), torch.randn(2, 3, 8, 12)]

    logits = decoder(
        text, image, text_start=text_start, positions=positions, mask=mask, grid=GRID, skips=skips
    )

    assert logits.shape == (4, 1, 8, 12)
    for row in range(4):
        t, i, start, real = text[row : row + 1], image[row : row + 1], text_start[row : row + 1], mask[row]
        t = decoder.text_norm(t + decoder.text_to_image(t + start, i + positions, i))
        i = decoder.image_norm(i + decoder.image_to_text(i + positions, t + start, t, real[None]))
        pooled = torch.stack([(t + start)[0, word] for word in range(5) if real[word]]).mean(dim=0)
        expected = products(decoder.mask_vector(pooled), i[0].T.reshape(WIDTH, *GRID))
        for to_vector, skip in zip(decoder.skip_vectors, skips, strict=True):
            fine = skip[row // 2]
            added = products(to_vector(pooled), fine) / len(fine) ** 0.5
            expected = enlarged(expected, (fine.shape[1], fine.shape[2])) + added
        torch.testing.assert_close(logits[row, 0], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_without_finer_maps_the_logits_have_the_size_of_the_enlarged_map() -> None:
    torch.manual_seed(0)
    decoder = MaskDecoder(WIDTH, heads=2, channels=(4, 2)).eval()
    text, image = torch.randn(1, 2, WIDTH), torch.randn(1, 6, WIDTH)
    mask = torch.ones(1, 2, dtype=torch.bool)
    logits = decoder(text, image, text_start=text, positions=torch.zeros(6, WIDTH), mask=mask, grid=GRID)
    assert logits.shape == (1, 1, 8, 12)
    t = decoder.text_norm(text + decoder.text_to_image(2 * text, image, image))
    i = decoder.image_norm(image + decoder.image_to_text(image, t + text, t, mask))
    vector = decoder.mask_vector((t + text)[0].mean(dim=0))
    fine = decoder.upscaler(i.transpose(1, 2).reshape(1, WIDTH, *GRID))[0]
    torch.testing.assert_close(logits[0, 0], products(vector, fine), rtol=1e-4, atol=1e-5)
