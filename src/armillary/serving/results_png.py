"""A picture as quick PNG bytes: how frames travel between the answering process and the computing one."""

import io

import numpy as np
from PIL import Image


def png(picture: np.ndarray) -> bytes:
    """uint8 h w 3 as PNG, compressed little."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()
