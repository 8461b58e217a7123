def count_parameters(vocab, context, n_layer, n_embd):
    C = n_embd
    norm = 2 * C
    attention = C * 3 * C + 3 * C + C * C + C
    mlp = C * 4 * C + 4 * C + 4 * C * C + C
    block = 2 * norm + attention + mlp
    return vocab * C + context * C + n_layer * block + norm


WRONG = [
    ("vocab * C", "2 * vocab * C", "the output layer is counted separately"),
    ("n_layer * block + norm", "n_layer * block", "the last LayerNorm is missing"),
    ("norm = 2 * C", "norm = C", "a gain and a bias"),
    ("+ context * C", "", "the table of positions is missing"),
    ("vocab * C + context * C + n_layer * block + norm", "n_layer * (vocab * C + context * C + block + norm)", "exist only once"),
]
