"""Exercise 29: your own layers in the real GPT.

You have written everything that a transformer needs: the embedding, the block with its norms, its attention and its MLP, the
tied head, the cross-entropy; forward and backward. Here they replace the project's own, and the real GPT trains with them.

The project's layers are classes. Their contract:

    out, cache = layer.forward(x, needs_dx)
    dx         = layer.backward(dout, cache)        and for each of their parameters:   p.grad += ...

`p.data` is the array of a parameter, `p.grad` its gradient, with the same shape. Gradients are ADDED, since a parameter may be
used in two places (the table of words is). `self.parameters()` is a dictionary {name: p}. For a block its keys are those of
exercise 19; for a LayerNorm they are "weight" (the gain) and "bias"; for an embedding there is `self.weight`. All parameters
train here, so you can ignore `needs_dx`.

Fill in the methods; each takes two to five lines, since your functions do the work. `plug` is already written.

The check first compares the gradients of a whole model with those of the project, then trains a GPT-2 of the demo's size for
some steps, once with your layers and once with its own, from the same weights and texts. (It takes a minute; it does not matter
that your layers are slower.) For a pretraining as long as the demo's with your layers, which takes some minutes:

    python workbook/ex29_my_gpt.py
"""

import numpy as np
from ex11_cross_entropy import cross_entropy
from ex13_embedding import embedding, embedding_backward
from ex15_layernorm import layernorm, layernorm_backward
from ex19_block import block, block_backward
from ex20_tied_head import tied_head, tied_head_backward

from minillm import nn


class MyEmbedding(nn.Embedding):
    def forward(self, index):
        """index, whole numbers of any shape -> out (*index.shape, C), cache."""
        raise NotImplementedError

    def backward(self, dout, cache):
        """dout (*index.shape, C). Nothing to return: an index has no gradient."""
        raise NotImplementedError

    def unembed(self, x, needs_dx=True):
        """The table as output layer: x (B, T, C) -> logits (B, T, V), cache."""
        raise NotImplementedError

    def unembed_backward(self, dout, cache):
        """dout (B, T, V) -> dx (B, T, C)."""
        raise NotImplementedError


class MyLayerNorm(nn.LayerNorm):
    def forward(self, x, needs_dx=True):
        """x (B, T, C) -> y (B, T, C), cache."""
        raise NotImplementedError

    def backward(self, dout, cache):
        """dout (B, T, C) -> dx (B, T, C)."""
        raise NotImplementedError


class MyBlock(nn.Block):
    def forward(self, x, needs_dx=True):
        """x (B, T, C) -> out (B, T, C), cache. The number of heads is self.attn.n_head."""
        raise NotImplementedError

    def backward(self, dout, cache):
        """dout (B, T, C) -> dx (B, T, C)."""
        raise NotImplementedError


class MyCrossEntropy(nn.CrossEntropy):
    def forward(self, logits, targets, total):
        """logits (B, T, V), targets (B, T) -> loss, a plain number, and a cache.

        A target of -1 does not count: that position is padding after the end of a text. The losses of all that count are added up
        and divided by `total`. (Your cross_entropy takes rows (N, V) and (N,), all of which count, and divides by N.)
        """
        raise NotImplementedError

    def backward(self, dout, cache):
        """dout, a number -> dlogits (B, T, V), of the type of the logits; 0 where the target does not count."""
        raise NotImplementedError


def plug(model):
    """Replace the project's layers by yours. The weights stay where they are; only the methods are yours from now on."""
    model.wte.__class__ = model.wpe.__class__ = MyEmbedding
    model.ln_f.__class__ = MyLayerNorm
    for own in model.blocks:
        own.__class__ = MyBlock


if __name__ == "__main__":
    from minillm.exercises.ladder.ex29_my_gpt import race

    race(plug, MyCrossEntropy())
