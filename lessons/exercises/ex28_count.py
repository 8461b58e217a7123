"""Exercise 28: how many numbers is a model made of?

A GPT with V words, a context of T places, L blocks and width C has

    a table of words (V, C), which is also its output layer, and a table of places (T, C);
    in each block two LayerNorms, each with a gain and a bias (C,);
        attention:  a linear layer C -> 3 C for q, k, v together, and one C -> C behind it;
        an MLP:     linear layers C -> 4 C and 4 C -> C;
    a last LayerNorm.

Every linear layer has a bias; the table has none, as output layer either. Return the number of all its parameters. (The
number of heads plays no part: why?)

    >>> count_parameters(vocab=211, context=112, n_layer=4, n_embd=128)
    834688
"""


def count_parameters(vocab, context, n_layer, n_embd):
    """V, T, L, C, whole numbers -> a whole number."""
    raise NotImplementedError
