import numpy as np
from ex11_cross_entropy import cross_entropy
from ex13_embedding import embedding, embedding_backward
from ex15_layernorm import layernorm, layernorm_backward
from ex19_block import block, block_backward
from ex20_tied_head import tied_head, tied_head_backward

from minillm import nn


class MyEmbedding(nn.Embedding):
    def forward(self, index):
        return embedding(index, self.weight.data), index

    def backward(self, dout, cache):
        self.weight.grad += embedding_backward(dout, cache, self.weight.data)

    def unembed(self, x, needs_dx=True):
        return tied_head(x, self.weight.data), x

    def unembed_backward(self, dout, cache):
        dx, dW = tied_head_backward(dout, cache, self.weight.data)
        self.weight.grad += dW
        return dx


class MyLayerNorm(nn.LayerNorm):
    def forward(self, x, needs_dx=True):
        return layernorm(x, self.weight.data, self.bias.data)

    def backward(self, dout, cache):
        dx, dg, db = layernorm_backward(dout, cache)
        self.weight.grad += dg
        self.bias.grad += db
        return dx


class MyBlock(nn.Block):
    def forward(self, x, needs_dx=True):
        return block(x, {name: p.data for name, p in self.parameters().items()}, self.attn.n_head)

    def backward(self, dout, cache):
        dx, dp = block_backward(dout, cache)
        for name, p in self.parameters().items():
            p.grad += dp[name]
        return dx


class MyCrossEntropy(nn.CrossEntropy):
    def forward(self, logits, targets, total):
        counted = targets != -1
        loss, d = cross_entropy(logits[counted], targets[counted])
        n = counted.sum()
        return float(loss) * n / total, (logits.shape, counted, d * (n / total).astype(d.dtype))

    def backward(self, dout, cache):
        shape, counted, d = cache
        dlogits = np.zeros(shape, d.dtype)
        dlogits[counted] = d * dout
        return dlogits


def plug(model):
    model.wte.__class__ = model.wpe.__class__ = MyEmbedding
    model.ln_f.__class__ = MyLayerNorm
    for own in model.blocks:
        own.__class__ = MyBlock


WRONG = [
    ("p.grad += dp[name]", "p.grad = dp[name]", "must add to it"),
    ("        self.weight.grad += dW\n", "", "Do both uses add to it"),
    ("float(loss) * n / total", "float(loss)", "it must be by total"),
    ("counted = targets != -1", "counted = targets != -2", "padding counts"),
    ("dlogits[counted] = d * dout", "dlogits[counted] = d", "dout is left out"),
    ("return block(x, {name: p.data for name, p in self.parameters().items()}, self.attn.n_head)",
     "return super().forward(x, needs_dx)", "The project's own Block.forward was called"),
    ("        self.bias.grad += db\n", "", "the gradient of ln_f.bias"),
]
