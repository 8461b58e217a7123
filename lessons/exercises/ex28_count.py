"""Exercise 28: how many parameters does a model have?

A GPT with V words, a context of T positions, L blocks and width C has

    a table of words (V, C), which is also its output layer, and a table of positions (T, C);
    in each block two LayerNorms, each with a gain and a bias (C,);
        attention:  a linear layer C -> 3 C for q, k, v together, and one C -> C after it;
        an MLP:     linear layers C -> 4 C and 4 C -> C;
    a last LayerNorm.

Every linear layer has a bias; the table has none, not even as the output layer. Return the total number of parameters. (The
number of heads does not matter: why?)

    >>> count_parameters(vocab=211, context=112, n_layer=4, n_embd=128)
    834688
"""


def count_parameters(vocab, context, n_layer, n_embd):
    """V, T, L, C, whole numbers -> a whole number."""
    raise NotImplementedError
