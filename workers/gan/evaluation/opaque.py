"""Pictures as networks see them that know no alpha."""

from torch import Tensor


def opaque(pictures: Tensor) -> Tensor:
    """Pictures uint8 [B, C, H, W], those of RGBA laid on white, [B, 3, H, W]; others are as they were."""
    if pictures.shape[1] != 4:
        return pictures
    colours, alpha = pictures[:, :3].float(), pictures[:, 3:].float() / 255
    return (colours * alpha + 255 * (1 - alpha)).round().to(pictures.dtype)
