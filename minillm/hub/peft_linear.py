"""LoRA, DoRA and (IA)^3 of peft, both ways: what is beside the linear maps of a model.

peft has one change for each of its modules. So q, k and v of GPT-2, one module there, have one low-rank map:
    x [A_q | A_k | A_v] diag(B_q, B_k, B_v) = [x A_q B_q | x A_k B_k | x A_v B_v]
with the ranks added up, and alpha as well, so that alpha / r stays. On the way back, the zeros of B tell the parts from each
other. Weights are (out, in) there: A is lora_A', B is lora_B'.
"""

import math
import re
from typing import NamedTuple

import numpy as np

from ..finetune.methods.dora import DoRA, DoRALinear, column_norms
from ..finetune.methods.ia3 import IA3, ScaledInputs, ScaledOutputs
from ..finetune.methods.lora import LoRA
from ..finetune.wrapper import innermost, inserted, linear_maps
from ..nn import Linear
from .names import Place, columns_of, modules_of, order_of
from .peft_config import adapter_config, must_be_targets, values_of

BEFORE = "base_model.model."      # what peft puts before the name of each module
ENDS = {"lora_A": (".weight",), "lora_B": (".weight",),       # of the names of its arrays; it passes over others
        "lora_magnitude_vector": ("", ".weight"), "ia3_l": ("",)}


def wrappers_of(model):
    """{Linear: what is around it}"""
    return {innermost(slot.module): slot.module for slot in inserted(model)}


def sites(model, family):
    """Yield (number of the block, full name of a module there, our Linear, the names of those of its maps that it has)."""
    for i, block in enumerate(model.blocks):
        for module, (linear, names) in modules_of(block, family).items():
            yield i, f"{family.blocks}.{i}.{module}", linear, names


def part_name(linear, name):
    """What a map is called among the parts of a wrapper."""
    return name if len(linear.maps) > 1 else ""


def within(linear, names, name):
    """The columns of one map among those of several that stand side by side."""
    start, columns = columns_of(linear, names).start, linear.columns(name)
    return slice(columns.start - start, columns.stop - start)


# Writing.

def write_low_rank(model, family):
    """(adapter_config.json, {name: array}) of LoRA or DoRA."""
    wrappers, arrays, ranks, alphas = wrappers_of(model), {}, {}, {}
    for _, module, linear, names in sites(model, family):
        wrapper = wrappers.get(linear)
        parts = {name: wrapper.parts[part_name(linear, name)] for name in names
                 if wrapper and part_name(linear, name) in wrapper.parts}
        if not parts:
            continue
        columns = columns_of(linear, names)
        A = np.concatenate([part.A.data for part in parts.values()], axis=1)                # (in, r)
        B, start = np.zeros((A.shape[1], columns.stop - columns.start), A.dtype), 0         # (r, out)
        for name, part in parts.items():
            rows, start = slice(start, start + len(part.B.data)), start + len(part.B.data)
            B[rows, within(linear, names, name)] = part.B.data
        place = Place(None, order=order_of(names, model.config), transposed=True)
        arrays[f"{BEFORE}{module}.lora_A.weight"], arrays[f"{BEFORE}{module}.lora_B.weight"] = A.T, place.theirs(B)
        if isinstance(wrapper, DoRALinear):
            m = column_norms(linear.weight.data[:, columns])                                # of maps that do not train
            for name, part in parts.items():
                m[within(linear, names, name)] = part.m.data
            arrays[f"{BEFORE}{module}.lora_magnitude_vector"] = place._replace(transposed=False).theirs(m)
        ranks[module], alphas[module] = start, next(iter(parts.values())).scale * start
    r, alpha = min(ranks.values()), min(alphas.values(), key=abs)
    dora = any(isinstance(wrapper, DoRALinear) for wrapper in wrappers.values())
    return adapter_config(
        "LORA", r=r, lora_alpha=alpha, lora_dropout=0.0, bias="none", use_dora=dora, use_rslora=False,
        fan_in_fan_out=not family.transposed, target_modules=sorted(ranks),
        rank_pattern={module: rank for module, rank in ranks.items() if rank != r},
        alpha_pattern={module: value for module, value in alphas.items() if value != alpha}), arrays


def write_scales(model, family):
    """(adapter_config.json, {name: array}) of (IA)^3."""
    wrappers, arrays, inputs = wrappers_of(model), {}, []
    for _, module, linear, names in sites(model, family):
        wrapper = wrappers.get(linear)
        if isinstance(wrapper, ScaledInputs):
            arrays[f"{BEFORE}{module}.ia3_l"] = wrapper.scale.l.data[None]
            inputs.append(module)
        elif isinstance(wrapper, ScaledOutputs) and set(names) & set(wrapper.parts):
            columns = columns_of(linear, names)
            l = np.ones(columns.stop - columns.start, linear.weight.data.dtype)
            for name in set(names) & set(wrapper.parts):
                l[within(linear, names, name)] = wrapper.parts[name].l.data
            arrays[f"{BEFORE}{module}.ia3_l"] = Place(None, order=order_of(names, model.config)).theirs(l)[:, None]
    targets = sorted(name[len(BEFORE):-len(".ia3_l")] for name in arrays)
    return adapter_config("IA3", target_modules=targets, feedforward_modules=inputs, fan_in_fan_out=not family.transposed), arrays


# Reading. The model is the base; what is read is put into it.

def by_module(tensors, family, model, kinds, config):
    """{full name of a module: {kind of array: Tensor}}. ValueError for weights of other modules than it can have."""
    known = {module: block for block, module, _, _ in sites(model, family)}
    first, found = family.blocks.split(".")[0], {}
    for name, tensor in tensors.items():
        match = re.fullmatch(rf"{re.escape(BEFORE)}(.+)\.({'|'.join(kinds)})(\.weight)?", name)
        module = match[1] if match and (match[3] or "") in ENDS[match[2]] else ""
        module = module if module.startswith(f"{first}.") else f"{first}.{module}"
        if module not in known:
            raise ValueError(f"it holds {name[:100]!r}, for which minillm has no place in this base")
        if match[2] in found.setdefault(module, {}):
            raise ValueError(f"it holds {match[2]} of {module} twice")
        found[module][match[2]] = tensor
    if not found:
        raise ValueError("it holds no weights")
    must_be_targets(config, {module: known[module] for module in found})
    return found


class Part(NamedTuple):
    """A low-rank map beside one of our linear maps."""

    block: int
    linear: Linear
    name: str
    A: np.ndarray             # (in, r)
    B: np.ndarray             # (r, out)
    m: np.ndarray | None      # (out,), of DoRA
    scale: float


def read_low_rank(model, family, config, tensors):
    """Put a LoRA or DoRA into its base; returns the recipe. ValueError says what does not fit.

    A recipe has one rank and one scale. So a smaller rank is filled up with zeros in B, and another scale goes into B.
    """
    dora, rs = config.get("use_dora", False), config.get("use_rslora", False)
    kinds = ("lora_A", "lora_B", "lora_magnitude_vector") if dora else ("lora_A", "lora_B")
    arrays, parts = by_module(tensors, family, model, kinds, config), []
    ranks, alphas = (values_of(config.get(name), arrays) for name in ("rank_pattern", "alpha_pattern"))
    for i, module, linear, names in sites(model, family):
        if module in arrays:
            r, alpha = ranks.get(module, config["r"]), alphas.get(module, config["lora_alpha"])
            low_rank = low_rank_of(module, arrays[module], linear, names, r, model.config, kinds)
            parts += parts_of(*low_rank, alpha / (math.sqrt(r) if rs else r), i, linear, names)
    rank, scale = max(1, *(part.A.shape[1] for part in parts)), parts[0].scale
    targets = tuple(name for name in linear_maps(model.blocks[0]) if name in {part.name for part in parts})
    recipe = (DoRA if dora else LoRA)(rank, scale * (math.sqrt(rank) if rs else rank), targets, rs,
                                      blocks=blocks_of(model, {part.block for part in parts}))
    recipe.apply(model)
    wrappers = wrappers_of(model)
    for _, linear, name, A, B, m, scale in parts:
        ours = wrappers[linear].parts[part_name(linear, name)]
        ours.A.data[:, :A.shape[1]] = A
        ours.B.data[:len(B)] = B if math.isclose(scale, ours.scale, rel_tol=1e-12) else B * (scale / ours.scale)
        if dora:
            ours.m.data[...] = m
    return recipe


def blocks_of(model, numbers):
    """The field `blocks` of a recipe for these blocks: nothing, if they are all."""
    return () if len(numbers) == len(model.blocks) else tuple(sorted(numbers))


def low_rank_of(module, arrays, linear, names, r, sizes, kinds):
    """A (in, r), B (r, out), and m (out,) or None of a module, in our order."""
    if arrays.keys() != set(kinds):
        raise ValueError(f"{module} has {' and '.join(sorted(arrays))}, where {', '.join(kinds)} are needed")
    columns, dtype = columns_of(linear, names), linear.weight.data.dtype
    n_in, n_out = linear.weight.shape[0], columns.stop - columns.start
    for kind, shape in (("lora_A", (r, n_in)), ("lora_B", (n_out, r)), ("lora_magnitude_vector", (n_out,))):
        if kind in arrays and arrays[kind].shape != shape:
            raise ValueError(f"{kind} of {module} has the shape {arrays[kind].shape}, and for this base it should be {shape}")
    place = Place(None, order=order_of(names, sizes), transposed=True)
    m = place._replace(transposed=False).ours(arrays[kinds[2]].read(dtype)) if len(kinds) > 2 else None
    return arrays["lora_A"].read(dtype).T, place.ours(arrays["lora_B"].read(dtype)), m


def parts_of(A, B, m, scale, block, linear, names):
    """A Part for each map in a module. Of several, each gets the ranks that it uses, and those that do not change get none."""
    all_of, changed = [], []
    for name in names:
        columns = within(linear, names, name)
        part = Part(block, linear, name, A, B[:, columns], None if m is None else m[columns], scale)
        all_of.append(part)
        used = part.B.any(axis=1) | (len(names) == 1)
        norms = None if m is None else column_norms(linear.weight.data[:, linear.columns(name)])
        if used.any() or m is not None and not np.allclose(part.m, norms, rtol=1e-6):
            changed.append(part._replace(A=A[:, used], B=part.B[used]))
    return changed or all_of


def read_scales(model, family, config, tensors):
    """Put an (IA)^3 into its base; returns the recipe. ValueError for factors of something that has none here."""
    arrays, wanted = by_module(tensors, family, model, ("ia3_l",), config), []
    for i, module, linear, names in sites(model, family):
        if module not in arrays:
            continue
        tensor, block = arrays[module]["ia3_l"], model.blocks[i]
        if tensor.shape == (1, linear.weight.shape[0]) and linear is linear_maps(block)[block.mlp.output]:
            wanted.append((i, linear, "mlp", tensor.read(linear.weight.data.dtype)[0]))
            continue
        columns = columns_of(linear, names)
        if tensor.shape != (columns.stop - columns.start, 1) or not set(names) & {"k", "v"}:
            raise ValueError(f"it scales {module} by factors of the shape {tensor.shape}, where minillm can scale keys, values "
                             "and the hidden features of the MLP")
        l = Place(None, order=order_of(names, model.config)).ours(tensor.read(linear.weight.data.dtype)[:, 0])
        factors = {name: l[within(linear, names, name)] for name in names}
        if "q" in factors:                                  # (l_q q) . (l_k k) = q . (l_q l_k k), in the absence of rotations
            factors["k"] = factors.pop("q") * factors["k"]
        wanted += [(i, linear, name, factor) for name, factor in factors.items()]
    still = {target for _, _, target, _ in wanted} - {target for _, _, target, l in wanted if (l != 1).any()}
    wanted = [one for one in wanted if one[2] not in still] or wanted
    recipe = IA3(tuple(target for target in ("k", "v", "mlp") if target in {target for _, _, target, _ in wanted}),
                 blocks=blocks_of(model, {i for i, *_ in wanted}))
    recipe.apply(model)
    wrappers = wrappers_of(model)
    for _, linear, target, l in wanted:
        (wrappers[linear].scale if target == "mlp" else wrappers[linear].parts[target]).l.data[...] = l
    return recipe
