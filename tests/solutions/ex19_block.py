from ex15_layernorm import layernorm, layernorm_backward
from ex17_self_attention import self_attention, self_attention_backward
from ex18_mlp import mlp, mlp_backward


def block(x, p, n_head):
    n1, c1 = layernorm(x, p["ln_1.weight"], p["ln_1.bias"])
    a, ca = self_attention(n1, p["attn.qkv.weight"], p["attn.qkv.bias"], p["attn.proj.weight"], p["attn.proj.bias"], n_head)
    x1 = x + a
    n2, c2 = layernorm(x1, p["ln_2.weight"], p["ln_2.bias"])
    m, cm = mlp(n2, p["mlp.fc.weight"], p["mlp.fc.bias"], p["mlp.proj.weight"], p["mlp.proj.bias"])
    return x1 + m, (c1, ca, c2, cm)


def block_backward(dout, cache):
    c1, ca, c2, cm = cache
    dp = {}
    dn2, dp["mlp.fc.weight"], dp["mlp.fc.bias"], dp["mlp.proj.weight"], dp["mlp.proj.bias"] = mlp_backward(dout, cm)
    dx1, dp["ln_2.weight"], dp["ln_2.bias"] = layernorm_backward(dn2, c2)
    dx1 = dx1 + dout
    dn1, dp["attn.qkv.weight"], dp["attn.qkv.bias"], dp["attn.proj.weight"], dp["attn.proj.bias"] = (
        self_attention_backward(dx1, ca))
    dx, dp["ln_1.weight"], dp["ln_1.bias"] = layernorm_backward(dn1, c1)
    return dx + dx1, dp


WRONG = [
    ("x1 = x + a", "x1 = a", "the residual connection around attention is missing"),
    ("return x1 + m", "return x + m", "must be added to x1"),
    ("layernorm(x1, p", "layernorm(x, p", "it must be norm_2(x1)"),
    ("dx1 = dx1 + dout", "dx1 = dx1 + 0", "dx1 = dout + ..."),
    ("return dx + dx1, dp", "return dx, dp", "dx = dx1 + ..."),
    ("return dx + dx1, dp", "return dx + dout, dp", "it must be dx1"),
    ("    dx1 = dx1 + dout", "    dout += dx1\n    dx1 = dout", "changed its input dout"),
    ("return dx + dx1, dp", "return dx + dx1, {name.replace('.', '_'): d for name, d in dp.items()}", "lacks the key"),
    ("self_attention_backward(dx1, ca)", "self_attention_backward(dout, ca)", "is given dout"),
    ("dx1 = dx1 + dout", "dx1 = dn2 + dout", "norm_2 is left out in the backward pass"),
]
